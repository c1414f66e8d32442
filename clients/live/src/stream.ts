// A subscription over HTTP whose body a test reads as text.

import assert from 'node:assert/strict';

export class Stream {
  readonly #body: Promise<string>;

  private constructor(body: Promise<string>) {
    this.#body = body;
  }

  /** Opens a stream and waits for its start. */
  static async open(url: string, token: string, accept: string, query: string): Promise<Stream> {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', Accept: accept };
    const body = JSON.stringify({ query });
    const response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(30_000) });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type')?.split(';')[0], accept.split(';')[0]);
    const text = response.text();
    text.catch(() => {});
    return new Stream(text);
  }

  /** Waits for the end of an event stream that a client must open again. */
  async endsWithoutComplete(): Promise<void> {
    const text = await this.#body;
    assert.match(text, /^id: \S+\nevent: next\ndata: \{"data":\{"feed":\{"__typename":"FeedReady",/m);
    assert.doesNotMatch(text, /event: complete/);
    assert.ok(text.endsWith('\n\n'));
  }

  /** Waits for the end of a multipart response whose last part is an error. */
  async endsWithError(code: string): Promise<void> {
    const text = await this.#body;
    assert.ok(text.trimEnd().endsWith('--graphql--'), text);
    const last = text.split('--graphql').at(-2) ?? '';
    const { payload, errors } = JSON.parse(last.slice(last.indexOf('\r\n\r\n'))) as Part;
    assert.deepEqual([payload, errors[0]?.extensions.code], [null, code]);
  }
}

interface Part {
  payload: null;
  errors: { extensions: { code: string } }[];
}
