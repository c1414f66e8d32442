import { useEffect, useState } from 'react';

import { plain } from '../richText';
import { useServices } from '../services';
import { texts } from '../texts';

const KEPT = 20;

/**
 * Lets screen readers announce new messages. The visible list cannot do this, because it also adds elements when the user
 * scrolls.
 */
export function Announcer({ groupUuid }: { groupUuid: string }) {
  const { live } = useServices();
  const [entries, setEntries] = useState<readonly { key: string; text: string }[]>([]);
  useEffect(
    () =>
      live.added.on(({ message, messageGroup }) => {
        const isOther = message.author.uuid === messageGroup.otherParticipant.uuid;
        if (messageGroup.uuid !== groupUuid || !isOther) return;
        const text = texts.conversation.announce(plain(message.author.displayName), plain(message.body));
        setEntries((all) => [...all.filter(({ key }) => key !== message.id), { key: message.id, text }].slice(-KEPT));
      }),
    [live, groupUuid],
  );
  return (
    <div className="visually-hidden" role="log" aria-label={texts.conversation.announcements}>
      {entries.map(({ key, text }) => (
        <p key={key}>{text}</p>
      ))}
    </div>
  );
}
