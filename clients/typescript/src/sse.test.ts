import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventStreamParser, type ServerSentEvent } from './sse.js';

function parse(...pieces: string[]): ServerSentEvent[] {
  const parser = new EventStreamParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

const STREAM = 'id: 7\nevent: next\ndata: {"a":1}\n\n:\n\nevent: next\ndata: {\ndata:  "b": 2}\n\nid\nevent: complete\ndata:\n\n';
const EVENTS: ServerSentEvent[] = [
  { event: 'next', data: '{"a":1}', lastEventId: '7' },
  { event: 'next', data: '{\n "b": 2}', lastEventId: '7' },
  { event: 'complete', data: '', lastEventId: '' },
];

test('a line ends with LF, CR LF or CR', () => {
  for (const end of ['\n', '\r\n', '\r']) assert.deepEqual(parse(STREAM.replaceAll('\n', end)), EVENTS);
});

test('the stream may arrive in pieces of any size', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const stream = STREAM.replaceAll('\n', end);
    assert.deepEqual(parse(...stream), EVENTS);
    for (let at = 0; at <= stream.length; at += 1) {
      assert.deepEqual(parse(stream.slice(0, at), '', stream.slice(at)), EVENTS, `cut at ${at}`);
    }
  }
});

test('an event is returned as soon as its blank line ends', () => {
  const parser = new EventStreamParser();
  assert.deepEqual(parser.push('data: a\r\r'), [{ event: 'message', data: 'a', lastEventId: '' }]);
  assert.deepEqual(parser.push('\ndata: b\n'), []);
  assert.deepEqual(parser.push('\n'), [{ event: 'message', data: 'b', lastEventId: '' }]);
});

test('comments, unknown fields and events without data are ignored', () => {
  assert.deepEqual(parse(': hello\n\nretry: 10\nother: x\n\nevent: next\n\ndata: a\n\n'), [
    { event: 'message', data: 'a', lastEventId: '' },
  ]);
});

test('only one space after the colon is removed, and a field may have no colon', () => {
  assert.deepEqual(parse('data:  a:b \ndata\n\n'), [{ event: 'message', data: ' a:b \n', lastEventId: '' }]);
});

test('an id with a null character is ignored', () => {
  assert.deepEqual(parse('id: 1\ndata: a\n\nid: \0\ndata: b\n\n').map(({ lastEventId }) => lastEventId), ['1', '1']);
});

test('an event without its blank line is incomplete', () => {
  assert.deepEqual(parse('data: a\n\ndata: b\n').length, 1);
});
