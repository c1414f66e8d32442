import { useState, type KeyboardEvent } from 'react';
import { Link, useLocation } from 'wouter';

import { useGroups } from '../hooks';
import { texts } from '../texts';
import { AccountMenu } from './AccountMenu';
import { GroupRow } from './GroupRow';
import { Icon } from './Icon';
import { LoadFailed } from './LoadFailed';
import { Notice } from './Notice';

export function GroupList({ onHelp }: { onHelp: () => void }) {
  return (
    <nav className="sidebar" aria-label={texts.groups.label}>
      <header className="bar">
        <h2>{texts.groups.heading}</h2>
        <Link
          className="icon-button"
          href="/messages/new"
          aria-label={texts.groups.newMessage}
          title={texts.groups.newMessage}
        >
          <Icon name="pencil" />
        </Link>
        <AccountMenu onHelp={onHelp} />
      </header>
      <Groups />
    </nav>
  );
}

function Groups() {
  const { groups, error, hasMore, loadMore, retry } = useGroups();
  const [location] = useLocation();

  if (error) return <LoadFailed title={texts.groups.errorTitle} error={error} onRetry={retry} />;
  if (!groups) return <LoadingGroups />;
  if (groups.length === 0) {
    return (
      <Notice icon="chat" title={texts.groups.emptyTitle} text={texts.groups.emptyText}>
        <Link className="button" href="/messages/new">
          {texts.groups.newMessage}
        </Link>
      </Notice>
    );
  }
  return (
    <div className="groups" onKeyDown={moveFocus}>
      <ul>
        {groups.map((group) => (
          <GroupRow key={group.id} group={group} isOpen={location === `/messages/${group.uuid}`} />
        ))}
      </ul>
      {hasMore && <More loadMore={loadMore} />}
    </div>
  );
}

function More({ loadMore }: { loadMore: () => Promise<boolean> }) {
  const [state, setState] = useState<'idle' | 'loading' | 'failed'>('idle');
  const load = async () => {
    setState('loading');
    setState((await loadMore()) ? 'idle' : 'failed');
  };
  return (
    <button type="button" className="more" disabled={state === 'loading'} onClick={load}>
      {state === 'failed' ? texts.groups.moreFailed : texts.groups.more}
    </button>
  );
}

function LoadingGroups() {
  return (
    <div className="groups" role="status" aria-label={texts.groups.loading}>
      {[0, 1, 2, 3, 4].map((row) => (
        <div key={row} className="skeleton-row" aria-hidden="true">
          <span className="skeleton skeleton-avatar" />
          <span className="skeleton-lines">
            <span className="skeleton" />
            <span className="skeleton" />
          </span>
        </div>
      ))}
    </div>
  );
}

/** The arrow keys move between the conversations; Tab leaves the list. */
function moveFocus(event: KeyboardEvent<HTMLElement>): void {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>('a.group')];
  const index = rows.findIndex((row) => row === document.activeElement);
  const next = {
    ArrowDown: rows[index + 1],
    ArrowUp: rows[index - 1],
    Home: rows[0],
    End: rows.at(-1),
  }[event.key];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
