import { useRef } from 'react';

import { signOut } from '../auth';
import { MeDocument } from '../generated/graphql';
import { useLoaded } from '../hooks';
import { useServices } from '../services';
import { texts } from '../texts';
import { Icon } from './Icon';
import { Avatar, Handle, Name, nameOf } from './Person';

export function AccountMenu({ onHelp }: { onHelp: () => void }) {
  const { data } = useLoaded({ query: MeDocument });
  const { outbox } = useServices();
  const menu = useRef<HTMLDivElement>(null);
  const me = data?.me;

  const leave = async () => {
    const unsent = outbox.items.get().length;
    if (unsent > 0 && !confirm(texts.account.confirmUnsent(unsent))) return;
    await signOut();
  };

  return (
    <>
      <button
        type="button"
        className="account-button"
        popoverTarget="account"
        aria-label={texts.account.menu(me ? nameOf(me) : '')}
      >
        {me ? <Avatar user={me} size="small" /> : <span className="avatar avatar-small" />}
      </button>
      <div id="account" ref={menu} popover="auto" className="menu">
        {me && (
          <p className="menu-person">
            <strong>
              <Name user={me} />
            </strong>
            <Handle user={me} />
          </p>
        )}
        <button
          type="button"
          onClick={() => {
            menu.current?.hidePopover();
            onHelp();
          }}
        >
          <Icon name="keyboard" size={18} />
          {texts.account.help}
        </button>
        <button type="button" onClick={leave}>
          <Icon name="leave" size={18} />
          {texts.account.signOut}
        </button>
      </div>
    </>
  );
}
