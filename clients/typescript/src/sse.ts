// Parses a stream of server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

export interface ServerSentEvent {
  /** Name of the event. `message` if the stream does not name it. */
  event: string;
  data: string;
  /** The id of this event, or that of the last event that had one. Empty if there was none. */
  lastEventId: string;
}

/** Takes the text of a stream in pieces of any size. The text has no byte order mark: `TextDecoder` removes it. */
export class EventStreamParser {
  /** The start of a line whose end has not arrived. */
  #rest = '';
  /** Whether the last piece ended with a CR: if the next one starts with an LF, both are one end of a line. */
  #endedWithCr = false;
  #event = '';
  #data: string[] = [];
  #lastEventId = '';

  /** Returns the events that end in this piece. */
  push(piece: string): ServerSentEvent[] {
    if (piece === '') return [];
    const text = this.#rest + (this.#endedWithCr && piece.startsWith('\n') ? piece.slice(1) : piece);
    this.#endedWithCr = text.endsWith('\r');
    const lines = text.split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => (line === '' ? this.#dispatch() : this.#field(line)));
  }

  #field(line: string): [] {
    const colon = line.indexOf(':');
    // A line that starts with a colon is a comment.
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#event = value;
    if (field === 'data') this.#data.push(value);
    if (field === 'id' && !value.includes('\0')) this.#lastEventId = value;
    return [];
  }

  #dispatch(): ServerSentEvent[] {
    const [event, data] = [this.#event || 'message', this.#data];
    this.#event = '';
    this.#data = [];
    return data.length > 0 ? [{ event, data: data.join('\n'), lastEventId: this.#lastEventId }] : [];
  }
}
