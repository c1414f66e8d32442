// Sign-in with OpenID Connect: authorization code with PKCE. This is the only place that decides whether somebody is signed in.

import type { User, UserManager } from 'oidc-client-ts';

import { leave } from './page';
import { forgetUser } from './storage';
import { createStore } from './store';

/** The content of `/config.json`. */
interface Config {
  authority: string;
  clientId: string;
  scope: string;
  logoutUrl: string | null;
}

/** The library, which knows the user pool. */
interface Oidc {
  manager: UserManager;
  logoutUrl: string | null;
}

/** The parts of a stored session that the client reads itself. */
type StoredUser = Pick<User, 'access_token' | 'refresh_token' | 'expires_at' | 'profile'>;

export type Session =
  | { kind: 'starting' }
  | { kind: 'signedIn'; userId: string }
  | { kind: 'leaving' }
  | { kind: 'signedOut'; why: 'expired' | 'failed' | 'left' }
  /** The user pool has signed the user in, but the API has no user for this account. */
  | { kind: 'notRegistered'; reason: RegistrationProblem }
  | { kind: 'unreachable' }
  /** The browser does not let this site store anything, and without it nobody can sign in. */
  | { kind: 'storageBlocked' };

/** A token that expires within this time is renewed before it is used. */
const RENEW_BEFORE_SECONDS = 60;
const MAX_WAIT_MS = 15_000;

const CALLBACK_PATH = '/callback';
/** Where the user pool goes after the sign-out. */
const SIGNED_OUT_PATH = '/signed-out';
const HOME = '/messages';

/** The library stores the session of this tab under this prefix and the name of the user pool. */
const STORED_PREFIX = 'oidc.user:';

/** The reasons with which the API rejects a valid token because it has no user for the account. */
const REGISTRATION_PROBLEMS = ['handle_taken', 'handle_missing', 'profile_refused', 'user_unknown'] as const;
type RegistrationProblem = (typeof REGISTRATION_PROBLEMS)[number];

export const session = createStore<Session>({ kind: 'starting' });

/** Each tab has a session of its own. When a user signs out in one tab, the other open tabs end theirs too. */
let signOuts: BroadcastChannel | undefined;

let loading: Promise<Oidc> | undefined;
let renewal: Promise<User> | undefined;

/**
 * Restores or starts a session. Called once, when the page loads. A page whose token is valid needs neither the library nor
 * `/config.json`, so it is signed in at once.
 */
export async function start(): Promise<void> {
  if (!hasStorage()) {
    session.set({ kind: 'storageBlocked' });
    return;
  }
  followSignOuts();
  const user = storedUser();
  if (user && isUsable(user) && !isTransitional()) {
    signedIn(user);
  } else {
    await untilReachable(restoreOrSignIn);
  }
}

function followSignOuts(): void {
  signOuts = new BroadcastChannel('cruddur:sign-outs');
  signOuts.addEventListener('message', ({ data: userId }: MessageEvent<unknown>) => {
    const current = session.get();
    if (current.kind === 'signedIn' && current.userId === userId) void endSession();
  });
}

/** Repeats a step until the server and the user pool respond. */
async function untilReachable(step: () => Promise<void>): Promise<void> {
  for (let wait = 1_000; ; wait = Math.min(2 * wait, MAX_WAIT_MS)) {
    try {
      await step();
      return;
    } catch {
      session.set({ kind: 'unreachable' });
      await online(wait);
    }
  }
}

async function restoreOrSignIn(): Promise<void> {
  if (location.pathname === CALLBACK_PATH) await finishSignIn();
  else if (location.pathname === SIGNED_OUT_PATH) session.set({ kind: 'signedOut', why: 'left' });
  else if (storedUser()) await restore();
  else await goToSignIn();
}

/** Continues a session whose token has expired. */
async function restore(): Promise<void> {
  try {
    signedIn(await renew());
  } catch (error) {
    if (!isRefused(error)) throw error;
    // Nobody was using this page, so there is nothing to explain.
    await goToSignIn();
  }
}

/** Goes to the sign-in page of the user pool, and comes back to the current page. */
export function signIn(): Promise<void> {
  return untilReachable(goToSignIn);
}

async function goToSignIn(): Promise<void> {
  const { manager } = await oidc();
  // The client would find a session of another user pool instead of the new one.
  forgetStoredUsers();
  const here = isTransitional() ? HOME : location.pathname + location.search;
  leave();
  await manager.signinRedirect({ state: here });
}

async function finishSignIn(): Promise<void> {
  const { manager } = await oidc();
  try {
    const user = await manager.signinRedirectCallback();
    history.replaceState(null, '', pathOf(user.state));
    signedIn(user);
  } catch (error) {
    if (isNetworkError(error)) throw error;
    // A reload of this page, for example: the code in its address has been used.
    const user = storedUser();
    history.replaceState(null, '', HOME);
    if (user && isUsable(user)) signedIn(user);
    else session.set({ kind: 'signedOut', why: 'failed' });
  }
}

/** Returns a valid access token. Throws if there is none; then nobody is signed in, or the user pool is unreachable. */
export async function accessToken(): Promise<string> {
  const user = storedUser();
  if (user && isUsable(user)) return user.access_token;
  return (await renewOrEnd()).access_token;
}

/** Replaces an access token that the server has rejected. Returns the new one. */
export async function replaceToken(rejected: string): Promise<string> {
  const user = storedUser();
  // Another request may have replaced it already.
  if (user && user.access_token !== rejected && isUsable(user)) return user.access_token;
  return (await renewOrEnd()).access_token;
}

/** Ends the session because the server rejects even a new token. */
export function end(): void {
  forgetStoredUsers();
  session.set({ kind: 'signedOut', why: 'expired' });
}

export function isRegistrationProblem(reason: unknown): reason is RegistrationProblem {
  return (REGISTRATION_PROBLEMS as readonly unknown[]).includes(reason);
}

/** Neither a new token nor a new sign-in changes that, so the tokens are kept for another try. */
export function registrationFailed(reason: RegistrationProblem): void {
  session.set({ kind: 'notRegistered', reason });
}

/** Ends the session in the open tabs and at the user pool, and deletes what the browser has stored for the user. */
export async function signOut(): Promise<void> {
  const current = session.get();
  if (current.kind === 'signedIn') signOuts?.postMessage(current.userId);
  // The user wants to leave, also if the user pool is unreachable.
  const [url] = await Promise.all([signOutUrl().catch(() => undefined), endSession()]);
  if (url === undefined) return;
  leave();
  location.assign(url);
}

/** Ends the session of this tab. */
async function endSession(): Promise<void> {
  const current = session.get();
  // Stops the services first. Otherwise they could send or store something after this.
  session.set({ kind: 'leaving' });
  // Somebody else may use this computer next.
  if (current.kind === 'signedIn') forgetUser(current.userId);
  const token = storedUser()?.refresh_token;
  // Before the user pool responds, so that a reload of the page does not continue the session.
  forgetStoredUsers();
  if (token !== undefined) await revoke(token).catch(() => undefined);
  // A renewal that was in progress stores its token.
  await renewal?.catch(() => undefined);
  forgetStoredUsers();
  // Also if another page follows: the browser can show this one again.
  session.set({ kind: 'signedOut', why: 'left' });
}

/** RFC 7009. The library would revoke only a token that it has stored. */
async function revoke(token: string): Promise<void> {
  const { manager } = await oidc();
  const endpoint = await manager.metadataService.getRevocationEndpoint();
  if (endpoint === undefined) return;
  const body = new URLSearchParams({ token, token_type_hint: 'refresh_token', client_id: manager.settings.client_id });
  await fetch(endpoint, { method: 'POST', body, signal: AbortSignal.timeout(MAX_WAIT_MS) });
}

/** Cognito's logout is not that of OpenID Connect: https://github.com/authts/oidc-client-ts/issues/1385 */
async function signOutUrl(): Promise<string | undefined> {
  const { manager, logoutUrl } = await oidc();
  // Not every user pool publishes where its session ends.
  const endpoint = logoutUrl ?? (await manager.metadataService.getEndSessionEndpoint());
  if (endpoint === undefined) return undefined;
  // The endpoint can be a path, and can have a query.
  const url = new URL(endpoint, location.href);
  url.searchParams.set('client_id', manager.settings.client_id);
  url.searchParams.set('logout_uri', location.origin + SIGNED_OUT_PATH);
  return url.href;
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
  const { manager } = await oidc();
  const user = await manager.getUser();
  if (!user?.refresh_token) throw new NoSession();
  const renewed = await manager.signinSilent();
  if (!renewed) throw new NoSession();
  return renewed;
}

class NoSession extends Error {
  override readonly name = 'NoSession';
}

function signedIn(user: StoredUser): void {
  session.set({ kind: 'signedIn', userId: user.profile.sub });
}

function isUsable({ expires_at, refresh_token }: StoredUser): boolean {
  // The library counts from the moment at which it received the token, so a wrong clock of the browser does not matter.
  const seconds = expires_at === undefined ? Infinity : expires_at - Date.now() / 1_000;
  return seconds > (refresh_token === undefined ? 0 : RENEW_BEFORE_SECONDS);
}

/** Whether the page is only a step of signing in or out. */
function isTransitional(): boolean {
  return location.pathname === CALLBACK_PATH || location.pathname === SIGNED_OUT_PATH;
}

function hasStorage(): boolean {
  try {
    return Boolean(sessionStorage);
  } catch {
    return false;
  }
}

function storedKeys(): string[] {
  return Object.keys(sessionStorage).filter((key) => key.startsWith(STORED_PREFIX));
}

/** Reads the session of this tab. */
function storedUser(): StoredUser | null {
  try {
    const [key = ''] = storedKeys();
    return JSON.parse(sessionStorage.getItem(key) ?? 'null') as StoredUser | null;
  } catch {
    return null;
  }
}

function forgetStoredUsers(): void {
  for (const key of storedKeys()) sessionStorage.removeItem(key);
}

/** Loads the library and the configuration when they are needed first. */
function oidc(): Promise<Oidc> {
  if (!loading) {
    loading = loadOidc();
    // So that the next call tries again.
    loading.catch(() => (loading = undefined));
  }
  return loading;
}

async function loadOidc(): Promise<Oidc> {
  const [{ UserManager, WebStorageStateStore }, config] = await Promise.all([import('oidc-client-ts'), loadConfig()]);
  const manager = new UserManager({
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
  return { manager, logoutUrl: config.logoutUrl };
}

/** Whether the user pool has refused to sign the user in, so another try is useless. */
function isRefused(error: unknown): boolean {
  return error instanceof NoSession || (error instanceof Error && error.name === 'ErrorResponse');
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
  const { authority, clientId, scope = 'openid profile', logoutUrl = null } = config;
  if (!authority || !clientId) throw new Error('/config.json needs `authority` and `clientId`');
  return { authority, clientId, scope, logoutUrl };
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
