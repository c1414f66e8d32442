// The running server: GRAPHQL_URL, and TOKEN of the user `ana`.

export const url = setting('GRAPHQL_URL');
export const headers = { Authorization: `Bearer ${setting('TOKEN')}` };
export const input = { to: { handle: 'ben' }, body: 'Sent by a cache' };

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
