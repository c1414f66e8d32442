import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import { Link, useLocation } from 'wouter';

import { MeDocument, UserByHandleDocument, type UserByHandleQuery } from '../generated/graphql';
import { useGroups, useLoaded, useTitle } from '../hooks';
import { pendingItem } from '../listItem';
import { buildRows } from '../rows';
import { useServices } from '../services';
import { useStore } from '../store';
import { texts } from '../texts';
import { Composer } from './Composer';
import { ConversationHeader, UntitledPane } from './ConversationHeader';
import { Icon } from './Icon';
import { LoadFailed } from './LoadFailed';
import { MessageRow } from './MessageItem';
import { Notice } from './Notice';
import { Avatar, Handle, nameOf } from './Person';
import { Spinner } from './Spinner';

/** Asks for the handle of the recipient. */
export function NewMessage() {
  useTitle(texts.newMessage.heading);
  const [, navigate] = useLocation();
  const [text, setText] = useState('');
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const handle = text.trim().replace(/^@/, '');
  return (
    <div className="conversation">
      <header className="bar conversation-bar">
        <Link className="icon-button back" href="/messages" aria-label={texts.conversation.back}>
          <Icon name="back" />
        </Link>
        <h2>{texts.newMessage.heading}</h2>
      </header>
      <form
        className="notice"
        onSubmit={(event) => {
          event.preventDefault();
          if (handle !== '') navigate(`/messages/new/${encodeURIComponent(handle)}`);
        }}
      >
        <span className="notice-icon">
          <Icon name="pencil" size={28} />
        </span>
        <p className="notice-lead">{texts.newMessage.intro}</p>
        <div className="handle-field">
          <span aria-hidden="true">@</span>
          <input
            ref={field}
            aria-label={texts.newMessage.label}
            aria-describedby="handle-hint"
            placeholder={texts.newMessage.placeholder}
            value={text}
            autoCapitalize="none"
            autoCorrect="off"
            autoComplete="off"
            spellCheck={false}
            onChange={(event) => setText(event.target.value)}
          />
          <button type="submit" className="button" disabled={handle === ''}>
            {texts.newMessage.submit}
          </button>
        </div>
        <p id="handle-hint" className="hint">
          {texts.newMessage.hint}
        </p>
      </form>
    </div>
  );
}

/** The first message to a user. If there is a conversation already, opens it. */
export function NewConversation({ handle }: { handle: string }) {
  const { data, error, fetching, retry } = useLoaded({ query: UserByHandleDocument, variables: { handle } });
  const { data: meData } = useLoaded({ query: MeDocument });
  const { groups } = useGroups();
  const user = data?.user;
  useTitle(user ? nameOf(user) : texts.newMessage.heading);

  const existing = groups?.find(({ otherParticipant }) => otherParticipant.id === user?.id);
  if (existing) return <OpenExisting handle={handle} groupUuid={existing.uuid} />;

  const again = (
    <Link className="button" href="/messages/new">
      {texts.newMessage.tryAnother}
    </Link>
  );
  const t = texts.newMessage;
  if (error) {
    return (
      <UntitledPane>
        <LoadFailed title={t.errorTitle} error={error} onRetry={retry} />
      </UntitledPane>
    );
  }
  if (fetching || !data || !meData) {
    return (
      <UntitledPane>
        <Spinner label={t.loading} />
      </UntitledPane>
    );
  }
  if (!user) {
    return (
      <UntitledPane>
        <Notice icon="search" title={t.notFoundTitle(handle)} text={t.notFoundText}>
          {again}
        </Notice>
      </UntitledPane>
    );
  }
  if (user.id === meData.me.id) {
    return (
      <UntitledPane>
        <Notice icon="person" title={t.selfTitle} text={t.selfText}>
          {again}
        </Notice>
      </UntitledPane>
    );
  }
  return <FirstMessage handle={handle} user={user} />;
}

/** Opens the conversation, also if the other user has just started it. What was written here continues there. */
function OpenExisting({ handle, groupUuid }: { handle: string; groupUuid: string }) {
  const { drafts } = useServices();
  const [, navigate] = useLocation();
  useLayoutEffect(() => {
    drafts.move(`@${handle}`, groupUuid);
    navigate(`/messages/${groupUuid}`, { replace: true });
  }, [drafts, handle, groupUuid, navigate]);
  return null;
}

type FoundUser = NonNullable<UserByHandleQuery['user']>;

function FirstMessage({ handle, user }: { handle: string; user: FoundUser }) {
  const { outbox } = useServices();
  const pending = useStore(outbox.items);
  const name = nameOf(user);
  const rows = useMemo(() => {
    const items = pending.filter(({ to }) => 'handle' in to && to.handle === handle).map(pendingItem);
    return buildRows(items, { hasPrevious: false, firstUnread: null });
  }, [pending, handle]);
  return (
    <div className="conversation">
      <ConversationHeader user={user} />
      <div className="messages-frame">
        <div className="messages" role="region" aria-label={texts.conversation.messages(name)} tabIndex={0}>
          <div className="messages-space" />
          <div className="start">
            <Avatar user={user} size="large" />
            <Handle user={user} />
            <p>
              <strong>{texts.newMessage.startTitle(name)}</strong>
            </p>
            <p>{texts.newMessage.startText}</p>
          </div>
          {rows.map(
            (row) => row.kind === 'message' && <MessageRow key={row.key} row={row} other={user} isLastRead={false} />,
          )}
        </div>
      </div>
      <Composer conversation={`@${handle}`} name={name} onSend={(body) => outbox.add({ handle }, user.uuid, body)} />
    </div>
  );
}
