// The running server: GRAPHQL_URL, and TOKEN of the user `ana`.

export const url = setting('GRAPHQL_URL');
export const headers = { Authorization: `Bearer ${setting('TOKEN')}` };
export const input = { to: { handle: 'ben' }, body: 'Sent by a cache' };

export const RENAMED = 'Renamed';

/**
 * Sends a request to the server. If the response contains `me`, the display name of the user is replaced: the schema has
 * no mutation that renames a user.
 */
export const fetchWithNewName: typeof fetch = async (resource, init) => {
  const response = await fetch(resource, init);
  const result = (await response.json()) as { data?: { me?: { displayName: string } } };
  if (result.data?.me) result.data.me.displayName = RENAMED;
  return Response.json(result, { status: response.status });
};

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
