import { memo } from 'react';

import { useNow } from '../clock';
import { MessageItemFragmentDoc, type PersonFragmentDoc } from '../generated/graphql';
import { unmask, type FragmentType } from '../generated';
import type { ListItem } from '../listItem';
import type { OutboxItem } from '../outbox';
import { isFewEmoji, plain, RichText } from '../richText';
import type { Row } from '../rows';
import { useServices } from '../services';
import { useStore } from '../store';
import { texts } from '../texts';
import { formatClock, formatDay } from '../time';
import { Icon } from './Icon';
import { Avatar } from './Person';
import { ClockTime } from './Time';

interface MessageRowProps {
  row: Extract<Row<ListItem>, { kind: 'message' }>;
  other: FragmentType<typeof PersonFragmentDoc>;
  isLastRead: boolean;
}

export const MessageRow = memo(function MessageRow({ row, other, isLastRead }: MessageRowProps) {
  const { item, startsDay, startsUnread, startsGroup, endsGroup } = row;
  const message = unmask(MessageItemFragmentDoc, item.message);
  const body = message?.body ?? item.pending?.body ?? '';
  const author = item.isOwn ? texts.conversation.you : plain(message?.author.displayName ?? '');
  const state = item.pending?.state ?? 'sent';
  return (
    <div
      className="row"
      data-own={item.isOwn ? true : undefined}
      data-starts={startsGroup ? true : undefined}
      data-ends={endsGroup ? true : undefined}
      data-state={state}
    >
      {startsDay && <Day iso={item.createdAt} />}
      {startsUnread && (
        <p className="unread-divider">
          <span>{texts.conversation.unread}</span>
        </p>
      )}
      <article className="message" aria-label={texts.conversation.says(author, formatClock(item.createdAt))}>
        {!item.isOwn && startsGroup && <Avatar user={other} size="small" />}
        <div className={isFewEmoji(body) ? 'bubble bubble-emoji' : 'bubble'}>
          <p className="body" dir="auto">
            <RichText text={body} />
          </p>
          <span className="meta">
            <ClockTime iso={item.createdAt} />
            {item.isOwn && <StateIcon state={state} />}
          </span>
        </div>
      </article>
      {item.pending && <PendingActions item={item.pending} />}
      {isLastRead && (
        <p className="read-mark">
          <Icon name="checks" size={14} />
          {texts.state.read}
        </p>
      )}
    </div>
  );
});

function Day({ iso }: { iso: string }) {
  const now = useNow();
  return (
    <p className="day">
      <span>{formatDay(iso, now)}</span>
    </p>
  );
}

function StateIcon({ state }: { state: OutboxItem['state'] | 'sent' }) {
  const icon = ({ sent: 'check', failed: 'alert', unknown: 'clock', queued: 'clock', sending: 'clock' } as const)[
    state
  ];
  const label = texts.state[state];
  return (
    <span className="state" data-state={state} title={label}>
      <Icon name={icon} size={14} />
      <span className="visually-hidden">{label}</span>
    </span>
  );
}

/** What is wrong with a message that is not sent, and what the user can do. */
function PendingActions({ item }: { item: OutboxItem }) {
  const { outbox, live } = useServices();
  const isOffline = useStore(live.connection) === 'offline';
  if (item.state === 'sending') return null;
  if (item.state === 'queued') return isOffline ? <p className="pending">{texts.state.queued}</p> : null;
  const isFailed = item.state === 'failed';
  return (
    <p className="pending" data-failed={isFailed ? true : undefined}>
      <span role="status">
        {isFailed ? (texts.failure[item.reason ?? ''] ?? texts.state.failed) : texts.state.unknown}
      </span>
      <button type="button" className="text-button" onClick={() => outbox.retry(item.key)}>
        {isFailed ? texts.state.retry : texts.state.retryNow}
      </button>
      {isFailed && (
        <button type="button" className="text-button" onClick={() => outbox.discard(item.key)}>
          {texts.state.discard}
        </button>
      )}
    </p>
  );
}
