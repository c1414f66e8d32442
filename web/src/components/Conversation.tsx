import { useCallback, useEffect, useEffectEvent, useMemo, useState } from 'react';
import type { Client, OperationResult } from 'urql';
import { Link } from 'wouter';

import { firstMessages, isUuid } from '../firstQueries';
import {
  ConversationDocument,
  MessageListItemFragmentDoc,
  NewerMessagesDocument,
  type ConversationQuery,
  type NewerMessagesQuery,
} from '../generated/graphql';
import { unmask } from '../generated';
import { useLoaded, useTitle } from '../hooks';
import { pendingItem, type ListItem } from '../listItem';
import { isTo } from '../outbox';
import { firstUnreadOf } from '../rows';
import { useServices } from '../services';
import { useStore } from '../store';
import { texts } from '../texts';
import { Announcer } from './Announcer';
import { Composer } from './Composer';
import { ConversationHeader, UntitledPane } from './ConversationHeader';
import { LoadFailed } from './LoadFailed';
import { MessageList } from './MessageList';
import { Notice } from './Notice';
import { nameOf } from './Person';

const PAGE = 100;
/** Maximum number of messages that are loaded to open a conversation at its first unread message. */
const MAX_UNREAD_LOADED = 1_000;

type Group = NonNullable<ConversationQuery['messageGroup']>;

export function Conversation({ uuid }: { uuid: string }) {
  return isUuid(uuid) ? <LoadedConversation uuid={uuid} /> : <MissingConversation />;
}

function LoadedConversation({ uuid }: { uuid: string }) {
  const { live } = useServices();
  // Once, before the query.
  useState(() => live.queries(uuid));
  const { data, error, retry } = useLoaded({ query: ConversationDocument, variables: firstMessages(uuid) });

  if (data?.messageGroup) return <OpenConversation group={data.messageGroup} />;
  if (data) return <MissingConversation />;
  if (error) {
    return (
      <UntitledPane>
        <LoadFailed title={texts.conversation.errorTitle} error={error} onRetry={retry} />
      </UntitledPane>
    );
  }
  return <LoadingConversation />;
}

function OpenConversation({ group }: { group: Group }) {
  const { client, outbox, live } = useServices();
  const { uuid, otherParticipant, messages, unreadCount } = group;
  const name = nameOf(otherParticipant);
  useTitle(name);

  const items = useItems(group);
  const { hasPreviousPage, startCursor } = messages.pageInfo;
  const loadOlder = useCallback(async () => {
    const page = { uuid, last: PAGE, before: startCursor };
    const { error } = await client.query(ConversationDocument, page, { requestPolicy: 'network-only' }).toPromise();
    return error === undefined;
  }, [client, uuid, startCursor]);

  const newest = unmask(MessageListItemFragmentDoc, messages.nodes.at(-1))?.cursor;
  const resyncs = useStore(live.resyncs);
  const onResync = useEffectEvent(() => {
    if (newest === undefined || !live.isIncomplete(uuid)) return;
    live.completes(uuid);
    void loadNewer(client, uuid, newest);
  });
  useEffect(() => onResync(), [resyncs]);

  // Reading clears the unread count, but the divider stays where it was when the conversation was opened.
  const [unreadAtOpen] = useState(unreadCount);
  const [firstUnread, setFirstUnread] = useState<string | null | undefined>(undefined);
  const [hasGivenUp, setGivenUp] = useState(false);
  const found = firstUnreadOf(items, unreadAtOpen);
  const isReady =
    unreadAtOpen === 0 || found !== null || !hasPreviousPage || items.length >= MAX_UNREAD_LOADED || hasGivenUp;
  if (isReady && firstUnread === undefined) {
    setFirstUnread(unreadAtOpen === 0 ? null : ((found ?? items.find(({ isOwn }) => !isOwn))?.key ?? null));
  }
  useEffect(() => {
    if (!isReady) void loadOlder().then((isLoaded) => !isLoaded && setGivenUp(true));
  }, [isReady, loadOlder]);

  const onAdded = useEffectEvent((key: string) => {
    // The user has not seen what arrives in a hidden tab.
    if (document.hidden && unreadCount === 0) setFirstUnread(key);
  });
  useEffect(
    () =>
      live.added.on(({ message, messageGroup }) => {
        if (messageGroup.uuid === uuid && message.author.uuid === otherParticipant.uuid) onAdded(message.id);
      }),
    [live, uuid, otherParticipant.uuid],
  );

  if (!isReady || firstUnread === undefined) return <LoadingConversation />;
  return (
    <div className="conversation">
      <ConversationHeader user={otherParticipant} groupUuid={uuid} />
      <MessageList
        groupUuid={uuid}
        other={otherParticipant}
        items={items}
        hasPrevious={hasPreviousPage}
        loadOlder={loadOlder}
        firstUnread={firstUnread}
        unreadCount={unreadCount}
        readCursor={group.readCursor}
        otherReadCursor={group.otherReadCursor}
      />
      <Announcer groupUuid={uuid} />
      <Composer
        conversation={uuid}
        groupUuid={uuid}
        name={name}
        onSend={(body) => {
          setFirstUnread(null);
          outbox.add({ messageGroupUuid: uuid }, otherParticipant.uuid, body);
        }}
      />
    </div>
  );
}

/** Loads what was added after a message, and the read markers. */
async function loadNewer(client: Client, uuid: string, newest: string): Promise<void> {
  let after: string | null | undefined = newest;
  while (after) {
    const page = { uuid, first: PAGE, after };
    const result: OperationResult<NewerMessagesQuery> = await client
      .query(NewerMessagesDocument, page, { requestPolicy: 'network-only' })
      .toPromise();
    const pageInfo = result.data?.messageGroup?.messages.pageInfo;
    after = pageInfo?.hasNextPage ? pageInfo.endCursor : null;
  }
}

/** The confirmed messages, then those of the outbox. */
function useItems({ uuid, otherParticipant, messages }: Group): ListItem[] {
  const { outbox } = useServices();
  const pending = useStore(outbox.items);
  const otherUuid = otherParticipant.uuid;
  const confirmed = useMemo(
    () =>
      messages.nodes.map((masked): ListItem => {
        const message = unmask(MessageListItemFragmentDoc, masked);
        return {
          key: outbox.sentKeys.get(message.id) ?? message.id,
          createdAt: message.createdAt,
          isOwn: message.author.uuid !== otherUuid,
          message,
        };
      }),
    [messages.nodes, otherUuid, outbox],
  );
  return useMemo(() => {
    const unsent = pending
      .filter((item) => item.seenAs === undefined && isTo(item, { uuid, otherParticipant: { uuid: otherUuid } }))
      .map(pendingItem);
    // For a moment, a message can be both confirmed and in the outbox.
    const keys = new Set(unsent.length > 0 ? confirmed.map(({ key }) => key) : []);
    return unsent.length > 0 ? [...confirmed, ...unsent.filter(({ key }) => !keys.has(key))] : confirmed;
  }, [confirmed, pending, uuid, otherUuid]);
}

function LoadingConversation() {
  useTitle(null);
  return (
    <UntitledPane>
      <div className="skeleton-messages" role="status" aria-label={texts.conversation.loading}>
        {[0, 1, 2, 3, 4, 5].map((row) => (
          <span key={row} className="skeleton" aria-hidden="true" />
        ))}
      </div>
    </UntitledPane>
  );
}

function MissingConversation() {
  useTitle(texts.conversation.missingTitle);
  return (
    <UntitledPane>
      <Notice icon="search" title={texts.conversation.missingTitle} text={texts.conversation.missingText}>
        <Link className="button" href="/messages">
          {texts.errors.toMessages}
        </Link>
      </Notice>
    </UntitledPane>
  );
}
