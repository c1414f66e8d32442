import { memo } from 'react';
import { Link } from 'wouter';

import { GroupRowFragmentDoc } from '../generated/graphql';
import { unmask, type FragmentType } from '../generated';
import { isTo } from '../outbox';
import { plain } from '../richText';
import { useServices } from '../services';
import { useStore } from '../store';
import { texts } from '../texts';
import { typing } from '../typing';
import { Icon } from './Icon';
import { Avatar, Name } from './Person';
import { RelativeTime } from './Time';

interface GroupRowProps {
  group: FragmentType<typeof GroupRowFragmentDoc>;
  isOpen: boolean;
}

export const GroupRow = memo(function GroupRow({ group: masked, isOpen }: GroupRowProps) {
  const group = unmask(GroupRowFragmentDoc, masked);
  const { outbox, drafts } = useServices();
  const pending = useStore(outbox.items).findLast((item) => isTo(item, group));
  const draft = useStore(drafts.texts).get(group.uuid) ?? '';
  const isTyping = useStore(typing).has(group.uuid);
  const { otherParticipant, lastMessage, unreadCount } = group;
  const isOwn = lastMessage.author.uuid !== otherParticipant.uuid;

  const preview = () => {
    if (isTyping) return <span className="preview-typing">{texts.groups.typing}</span>;
    if (draft.trim() !== '' && !isOpen) {
      return (
        <>
          <span className="preview-draft">{texts.groups.draft}</span>
          <bdi>{plain(draft)}</bdi>
        </>
      );
    }
    if (pending) {
      return (
        <>
          <span className="preview-state" data-state={pending.state}>
            <Icon name={pending.state === 'failed' ? 'alert' : 'clock'} size={14} />
          </span>
          <bdi>{plain(pending.body)}</bdi>
        </>
      );
    }
    return (
      <>
        {/* Elements, because a translation by the browser replaces text nodes: https://github.com/facebook/react/issues/11538 */}
        {isOwn && <span>{texts.groups.you}</span>}
        <bdi>{plain(lastMessage.body)}</bdi>
      </>
    );
  };

  return (
    <li>
      <Link
        className="group"
        href={`/messages/${group.uuid}`}
        aria-current={isOpen ? 'page' : undefined}
        data-unread={unreadCount > 0 ? true : undefined}
      >
        <Avatar user={otherParticipant} />
        <span className="group-text">
          <span className="group-line">
            <span className="group-name">
              <Name user={otherParticipant} />
            </span>
            <RelativeTime iso={pending?.createdAt ?? group.lastMessageAt} />
          </span>
          <span className="group-line">
            <span className="preview">{preview()}</span>
            {unreadCount > 0 && (
              <span className="badge">
                <span aria-hidden="true">{unreadCount > 999 ? '999+' : unreadCount}</span>
                <span className="visually-hidden">{texts.groups.unread(unreadCount)}</span>
              </span>
            )}
          </span>
        </span>
      </Link>
    </li>
  );
});
