// Turns messages into the rows of the list: what is unread, where a day starts, and which messages belong together.

import { dayOf } from './time';

/** Messages of one author within this time are one group. */
const GROUP_MS = 5 * 60_000;

export interface RowSource {
  key: string;
  createdAt: string;
  isOwn: boolean;
}

export type Row<Item extends RowSource> =
  { kind: 'start'; key: string } | ({ kind: 'message'; key: string; item: Item } & Placement);

interface Placement {
  /** Whether a heading with the day precedes the message. */
  startsDay: boolean;
  /** Whether the divider of unread messages precedes the message. */
  startsUnread: boolean;
  /** Whether the message is the first of consecutive messages of its author. */
  startsGroup: boolean;
  /** Whether it is the last of them. */
  endsGroup: boolean;
}

/**
 * If there are older messages, the oldest loaded one is not shown yet, because its date and group depend on the message before
 * it. So adding an older page does not change a shown row.
 */
export function buildRows<Item extends RowSource>(
  items: readonly Item[],
  { hasPrevious, firstUnread }: { hasPrevious: boolean; firstUnread: string | null },
): Row<Item>[] {
  const rows: Row<Item>[] = hasPrevious ? [] : [{ kind: 'start', key: 'start' }];
  for (let index = hasPrevious && items.length > 1 ? 1 : 0; index < items.length; index += 1) {
    const item = items[index];
    if (!item) continue;
    const previous = items[index - 1];
    const next = items[index + 1];
    rows.push({
      kind: 'message',
      key: item.key,
      item,
      startsDay: !previous || dayOf(previous.createdAt) !== dayOf(item.createdAt),
      startsUnread: item.key === firstUnread,
      startsGroup: !previous || item.key === firstUnread || !belongTogether(previous, item),
      endsGroup: !next || next.key === firstUnread || !belongTogether(item, next),
    });
  }
  return rows;
}

function belongTogether(earlier: RowSource, later: RowSource): boolean {
  return (
    earlier.isOwn === later.isOwn &&
    Date.parse(later.createdAt) - Date.parse(earlier.createdAt) < GROUP_MS &&
    dayOf(earlier.createdAt) === dayOf(later.createdAt)
  );
}

/** Returns the first of the `count` newest messages of the other user, or null if fewer are loaded. */
export function firstUnreadOf<Item extends RowSource>(items: readonly Item[], count: number): Item | null {
  let remaining = count;
  for (let index = items.length - 1; index >= 0 && remaining > 0; index -= 1) {
    const item = items[index];
    if (!item || item.isOwn) continue;
    remaining -= 1;
    if (remaining === 0) return item;
  }
  return null;
}
