// What the list of messages shows.

import type { MessageListItemFragment } from './generated/graphql';
import type { OutboxItem } from './outbox';
import type { RowSource } from './rows';

/** A message that the server has confirmed, or one of the outbox. */
export type ListItem = RowSource &
  ({ message: MessageListItemFragment; pending?: never } | { message?: never; pending: OutboxItem });

/** The item of a message in the outbox. */
export function pendingItem(pending: OutboxItem): ListItem {
  return { key: pending.key, createdAt: pending.createdAt, isOwn: true, pending };
}
