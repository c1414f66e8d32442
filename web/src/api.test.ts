import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { createApi } from './api';
import { session } from './auth';
import { MeDocument } from './generated/graphql';

const STORED = 'oidc.user:test';

function storeToken(token: string): void {
  const user = { access_token: token, refresh_token: 'r', expires_at: Date.now() / 1_000 + 3_600, profile: {} };
  sessionStorage.setItem(STORED, JSON.stringify(user));
}

/** A server that rejects the first request with `token_expired`, and the request with the new token with `reason`. */
function rejectTwice(reason: string): string[] {
  const tokens: string[] = [];
  const send = (_url: string, { headers }: { headers: Headers }) => {
    tokens.push(headers.get('Authorization') ?? '');
    // As if another request had renewed the token in the meantime.
    storeToken('new');
    const extensions = { code: 'UNAUTHENTICATED', reason: tokens.length === 1 ? 'token_expired' : reason };
    return Promise.resolve(Response.json({ errors: [{ message: 'rejected', extensions }] }, { status: 401 }));
  };
  vi.stubGlobal('fetch', send);
  return tokens;
}

beforeEach(() => {
  storeToken('old');
  session.set({ kind: 'signedIn', userId: 'u1' });
});
afterEach(() => {
  vi.unstubAllGlobals();
  sessionStorage.clear();
});

describe('a request that is rejected again with a new token', () => {
  it('keeps the tokens if the server has no user for the account', async () => {
    const tokens = rejectTwice('handle_taken');
    await createApi().query(MeDocument, {}).toPromise();
    expect(tokens).toEqual(['Bearer old', 'Bearer new']);
    expect(session.get()).toEqual({ kind: 'notRegistered', reason: 'handle_taken' });
    expect(sessionStorage.getItem(STORED)).not.toBeNull();
  });

  it('ends the session if the server rejects the new token', async () => {
    rejectTwice('token_expired');
    await createApi().query(MeDocument, {}).toPromise();
    expect(session.get()).toEqual({ kind: 'signedOut', why: 'expired' });
    expect(sessionStorage.getItem(STORED)).toBeNull();
  });
});
