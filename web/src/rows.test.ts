import { describe, expect, it } from 'vitest';

import { buildRows, firstUnreadOf, type RowSource } from './rows';

const at = (key: string, time: string, isOwn = false): RowSource => ({ key, createdAt: `2026-03-01T${time}Z`, isOwn });
const options = { hasPrevious: false, firstUnread: null };

describe('rows', () => {
  it('groups consecutive messages of one author', () => {
    const rows = buildRows(
      [at('a', '10:00:00'), at('b', '10:01:00'), at('c', '10:02:00', true), at('d', '10:20:00', true)],
      options,
    );
    expect(rows.map((row) => (row.kind === 'message' ? [row.key, row.startsGroup, row.endsGroup] : row.kind))).toEqual([
      'start',
      ['a', true, false],
      ['b', false, true],
      ['c', true, true],
      ['d', true, true],
    ]);
  });

  it('does not change a shown row when an older page is added', () => {
    const page = [at('c', '10:02:00'), at('d', '10:03:00'), at('e', '10:04:00')];
    const before = buildRows(page, { ...options, hasPrevious: true });
    expect(before.map(({ key }) => key)).toEqual(['d', 'e']);
    const after = buildRows([at('a', '10:00:00'), at('b', '10:01:00'), ...page], { ...options, hasPrevious: true });
    expect(after.slice(-2)).toEqual(before);
  });

  it('starts a group below the divider of unread messages', () => {
    const rows = buildRows([at('a', '10:00:00'), at('b', '10:01:00')], { ...options, firstUnread: 'b' });
    expect(rows.at(-1)).toMatchObject({ startsUnread: true, startsGroup: true });
  });

  it('finds the first unread message by counting those of the other user', () => {
    const items = [at('a', '10:00:00'), at('b', '10:01:00'), at('own', '10:02:00', true), at('c', '10:03:00')];
    expect(firstUnreadOf(items, 2)?.key).toBe('b');
    expect(firstUnreadOf(items, 9)).toBeNull();
    expect(firstUnreadOf(items, 0)).toBeNull();
  });
});
