import type { ReactNode } from 'react';
import { Link } from 'wouter';

import type { FragmentType } from '../generated';
import type { PersonFragmentDoc } from '../generated/graphql';
import { useStore } from '../store';
import { texts } from '../texts';
import { typing } from '../typing';
import { Icon } from './Icon';
import { Avatar, Handle, Name, nameOf } from './Person';

interface ConversationHeaderProps {
  user?: FragmentType<typeof PersonFragmentDoc>;
  groupUuid?: string;
}

/** Without a user, shows only the link to the list, which a narrow screen needs while the conversation loads. */
export function ConversationHeader({ user, groupUuid }: ConversationHeaderProps) {
  const isTyping = useStore(typing).has(groupUuid ?? '');
  return (
    <header className="bar conversation-bar">
      <Link className="icon-button back" href="/messages" aria-label={texts.conversation.back}>
        <Icon name="back" />
      </Link>
      {user && (
        <>
          <Avatar user={user} size="small" />
          <div className="conversation-title">
            <h2 tabIndex={-1} id="conversation-heading">
              <Name user={user} />
            </h2>
            {isTyping ? (
              <span className="typing">
                {texts.conversation.typingShort}
                <span className="typing-dots" aria-hidden="true">
                  <i />
                  <i />
                  <i />
                </span>
              </span>
            ) : (
              <Handle user={user} />
            )}
            <span className="visually-hidden" role="status">
              {isTyping && texts.conversation.typing(nameOf(user))}
            </span>
          </div>
        </>
      )}
    </header>
  );
}

/** A pane without a conversation: the link to the list, and `children`. */
export function UntitledPane({ children }: { children: ReactNode }) {
  return (
    <div className="conversation">
      <ConversationHeader />
      {children}
    </div>
  );
}
