import { expect, it, vi } from 'vitest';

import { session, start } from './auth';

it('shows that the user is signed out without loading the library and the configuration', async () => {
  const load = vi.fn();
  vi.stubGlobal('fetch', load);
  vi.doMock('oidc-client-ts', load);
  history.replaceState(null, '', '/signed-out');
  await start();
  expect(session.get()).toEqual({ kind: 'signedOut', why: 'left' });
  expect(load).not.toHaveBeenCalled();
});
