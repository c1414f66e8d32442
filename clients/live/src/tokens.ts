import type { Server } from './server.js';

/** A token is replaced this long before it expires. */
const MARGIN_MS = 500;

/** The tokens of a user. All clients share a token until it expires. */
export class Tokens {
  readonly #server: Server;
  readonly #handle: string;
  /** Number of seconds for which the next token is valid. */
  validFor = 3600;
  #current: Promise<string> | undefined;
  #expiresAt = 0;

  constructor(server: Server, handle: string) {
    this.#server = server;
    this.#handle = handle;
  }

  /** Returns a token that is valid. */
  current(): Promise<string> {
    if (this.#current && Date.now() < this.#expiresAt - MARGIN_MS) return this.#current;
    this.#expiresAt = Infinity;
    const token = this.#server.token(this.#handle, this.validFor);
    this.#current = token;
    token.then(
      (text) => (this.#expiresAt = expiryOf(text).getTime()),
      () => (this.#current = undefined),
    );
    return token;
  }
}

/** The claim `exp` of a token. */
export function expiryOf(token: string): Date {
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp: number };
  return new Date(claims.exp * 1000);
}
