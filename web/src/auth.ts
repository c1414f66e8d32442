// Sign-in with OpenID Connect: authorization code with PKCE. This is the only place that decides whether somebody is signed in.

import { ErrorResponse, UserManager, WebStorageStateStore, type User } from 'oidc-client-ts';

import { createStore } from './store';

/** The content of `/config.json`. */
interface Config {
  authority: string;
  clientId: string;
  scope: string;
  logoutUrl: string | null;
}

export type Session =
  | { kind: 'starting' }
  | { kind: 'signedIn'; userId: string }
  | { kind: 'signedOut'; why: 'expired' | 'failed' | 'left' }
  /** The user pool has signed the user in, but the API has no user for this account. */
  | { kind: 'notRegistered'; reason: RegistrationProblem }
  | { kind: 'unreachable' };

/** A token that expires within this time is renewed before it is used. */
const RENEW_BEFORE_SECONDS = 60;
const MAX_WAIT_MS = 15_000;

export const CALLBACK_PATH = '/callback';
/** Where the user pool goes after the sign-out. */
const SIGNED_OUT_PATH = '/signed-out';
const HOME = '/messages';

/** The reasons with which the API rejects a valid token because it has no user for the account. */
const REGISTRATION_PROBLEMS = ['handle_taken', 'handle_missing', 'profile_refused', 'user_unknown'] as const;
export type RegistrationProblem = (typeof REGISTRATION_PROBLEMS)[number];

export const session = createStore<Session>({ kind: 'starting' });

let manager: UserManager | undefined;
let logoutUrl: string | null = null;
let renewal: Promise<User> | undefined;

/** Restores or starts a session. Called once, when the page loads. */
export async function start(): Promise<void> {
  for (let wait = 1_000; ; wait = Math.min(2 * wait, MAX_WAIT_MS)) {
    try {
      await startOnce();
      return;
    } catch {
      session.set({ kind: 'unreachable' });
      await online(wait);
    }
  }
}

async function startOnce(): Promise<void> {
  const config = await loadConfig();
  logoutUrl = config.logoutUrl;
  manager = new UserManager({
    authority: config.authority,
    client_id: config.clientId,
    scope: config.scope,
    response_type: 'code',
    redirect_uri: location.origin + CALLBACK_PATH,
    userStore: new WebStorageStateStore({ store: sessionStorage }),
    stateStore: new WebStorageStateStore({ store: sessionStorage }),
    // `accessToken` renews when a token is used, which also works after the computer has slept.
    automaticSilentRenew: false,
    requestTimeoutInSeconds: 15,
  });

  if (location.pathname === CALLBACK_PATH) await finishSignIn(manager);
  else if (location.pathname === SIGNED_OUT_PATH) session.set({ kind: 'signedOut', why: 'left' });
  else await restore(manager);
}

/** Uses the session of this tab, if there is one. */
async function restore(oidc: UserManager): Promise<void> {
  const user = await oidc.getUser();
  try {
    if (user) signedIn(isUsable(user) ? user : await renew());
    else await signIn();
  } catch (error) {
    if (!isRefused(error)) throw error;
    // Nobody was using this page, so there is nothing to explain.
    await signIn();
  }
}

/** Goes to the sign-in page of the user pool, and comes back to the current page. */
export async function signIn(): Promise<void> {
  const isTransitional = location.pathname === CALLBACK_PATH || location.pathname === SIGNED_OUT_PATH;
  const here = isTransitional ? HOME : location.pathname + location.search;
  await manager?.signinRedirect({ state: here });
}

async function finishSignIn(oidc: UserManager): Promise<void> {
  try {
    const user = await oidc.signinRedirectCallback();
    history.replaceState(null, '', pathOf(user.state));
    signedIn(user);
  } catch (error) {
    if (isNetworkError(error)) throw error;
    // A reload of this page, for example: the code in its address has been used.
    const user = await oidc.getUser();
    history.replaceState(null, '', HOME);
    if (user && isUsable(user)) signedIn(user);
    else session.set({ kind: 'signedOut', why: 'failed' });
  }
}

/** Returns a valid access token. Throws if there is none; then nobody is signed in, or the user pool is unreachable. */
export async function accessToken(): Promise<string> {
  const user = (await manager?.getUser()) ?? null;
  if (user && isUsable(user)) return user.access_token;
  return (await renewOrEnd()).access_token;
}

/** Replaces an access token that the server has rejected. Returns the new one. */
export async function replaceToken(rejected: string): Promise<string> {
  const user = (await manager?.getUser()) ?? null;
  // Another request may have replaced it already.
  if (user && user.access_token !== rejected && isUsable(user)) return user.access_token;
  return (await renewOrEnd()).access_token;
}

/** Ends the session because the server rejects even a new token. */
export function end(): void {
  void manager?.removeUser();
  session.set({ kind: 'signedOut', why: 'expired' });
}

export function isRegistrationProblem(reason: unknown): reason is RegistrationProblem {
  return (REGISTRATION_PROBLEMS as readonly unknown[]).includes(reason);
}

/** Neither a new token nor a new sign-in changes that, so the tokens are kept for another try. */
export function registrationFailed(reason: RegistrationProblem): void {
  session.set({ kind: 'notRegistered', reason });
}

export async function signOut(): Promise<void> {
  const oidc = manager;
  if (!oidc) return;
  try {
    if (await oidc.metadataService.getRevocationEndpoint()) await oidc.revokeTokens(['refresh_token']);
  } catch {
    // The user wants to leave, also if the user pool is unreachable.
  }
  // Not every user pool publishes where its session ends.
  const endpoint = logoutUrl ?? (await oidc.metadataService.getEndSessionEndpoint().catch(() => undefined));
  await oidc.removeUser();
  if (endpoint === undefined) {
    session.set({ kind: 'signedOut', why: 'left' });
    return;
  }
  // Cognito's logout is not that of OpenID Connect: https://github.com/authts/oidc-client-ts/issues/1385
  const url = new URL(endpoint, location.href);
  url.searchParams.set('client_id', oidc.settings.client_id);
  url.searchParams.set('logout_uri', location.origin + SIGNED_OUT_PATH);
  location.assign(url);
}

async function renewOrEnd(): Promise<User> {
  try {
    return await renew();
  } catch (error) {
    if (isRefused(error)) end();
    throw error;
  }
}

function renew(): Promise<User> {
  renewal ??= renewOnce().finally(() => (renewal = undefined));
  return renewal;
}

async function renewOnce(): Promise<User> {
  const user = (await manager?.getUser()) ?? null;
  if (!manager || !user?.refresh_token) throw new NoSession();
  const renewed = await manager.signinSilent();
  if (!renewed) throw new NoSession();
  return renewed;
}

class NoSession extends Error {
  override readonly name = 'NoSession';
}

function signedIn(user: User): void {
  session.set({ kind: 'signedIn', userId: user.profile.sub });
}

function isUsable(user: User): boolean {
  // `expires_in` counts from the moment at which the token was received, so a wrong clock of the browser does not matter.
  return (user.expires_in ?? Infinity) > RENEW_BEFORE_SECONDS || (user.refresh_token === undefined && !user.expired);
}

function isRefused(error: unknown): boolean {
  return error instanceof ErrorResponse || error instanceof NoSession;
}

function isNetworkError(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof Error && error.name === 'ErrorTimeout');
}

/** Accepts only paths of this site, so that nobody can be sent elsewhere. */
function pathOf(state: unknown): string {
  return typeof state === 'string' && /^\/(?![/\\])/.test(state) ? state : HOME;
}

async function loadConfig(): Promise<Config> {
  const response = await fetch('/config.json', { signal: AbortSignal.timeout(MAX_WAIT_MS) });
  if (!response.ok) throw new Error(`/config.json: HTTP ${response.status}`);
  const config = (await response.json()) as Partial<Config>;
  const { authority, clientId, scope = 'openid profile', logoutUrl: logout = null } = config;
  if (!authority || !clientId) throw new Error('/config.json needs `authority` and `clientId`');
  return { authority, clientId, scope, logoutUrl: logout };
}

/** Waits, but not longer than until the browser is online again. */
function online(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    addEventListener('online', done);
  });
}
