import { useEffect, useState, type ReactNode } from 'react';
import { Link, Redirect, Route, Switch, useLocation } from 'wouter';

import { useGroupsResync, useTitle } from '../hooks';
import { useServices } from '../services';
import { texts } from '../texts';
import { useShortcuts } from '../shortcuts';
import { ConnectionBanner } from './ConnectionBanner';
import { Conversation } from './Conversation';
import { GroupList } from './GroupList';
import { HelpDialog } from './HelpDialog';
import { NewConversation, NewMessage } from './NewConversation';
import { Notice } from './Notice';

/** The two panes. On a narrow screen, CSS shows the one that the address names. */
export function Shell() {
  const [location] = useLocation();
  const [isHelpOpen, setHelpOpen] = useState(false);
  useGroupsResync();
  useShortcuts(() => setHelpOpen(true));
  useStartedConversations();
  const { startLive } = useServices();
  useEffect(() => startLive(), [startLive]);

  const isList = location === '/messages' || location === '/';
  return (
    <main className="app" data-view={isList ? 'list' : 'conversation'}>
      <a className="skip-link" href="#conversation">
        {texts.skipToContent}
      </a>
      <h1 className="visually-hidden">{texts.product}</h1>
      <ConnectionBanner />
      <GroupList onHelp={() => setHelpOpen(true)} />
      <div id="conversation" className="pane">
        <Switch>
          <Route path="/">
            <Redirect to="/messages" replace />
          </Route>
          <Route path="/messages">
            <NothingOpen />
          </Route>
          <Route path="/messages/new">
            <NewMessage />
          </Route>
          <Route path="/messages/new/:handle">
            {({ handle }) => <NewConversation key={handle} handle={decode(handle)} />}
          </Route>
          <Route path="/messages/:uuid">{({ uuid }) => <Conversation key={uuid} uuid={uuid} />}</Route>
          <Route>
            <PageNotFound />
          </Route>
        </Switch>
      </div>
      {isHelpOpen && <HelpDialog onClose={() => setHelpOpen(false)} />}
    </main>
  );
}

/** After the first message to a handle, opens the message group that the message has created. */
function useStartedConversations(): void {
  const { started } = useServices();
  const [location, navigate] = useLocation();
  useEffect(
    () =>
      started.on(({ handle, messageGroupUuid }) => {
        const isOpen =
          location.startsWith('/messages/new/') && decode(location.slice('/messages/new/'.length)) === handle;
        if (isOpen) navigate(`/messages/${messageGroupUuid}`, { replace: true });
      }),
    [started, location, navigate],
  );
}

function NothingOpen(): ReactNode {
  useTitle(null);
  return <Notice icon="chat" title={texts.nothingOpen.title} text={texts.nothingOpen.text} />;
}

function PageNotFound(): ReactNode {
  useTitle(texts.errors.notFoundTitle);
  return (
    <Notice icon="search" title={texts.errors.notFoundTitle} text={texts.errors.notFoundText}>
      <Link className="button" href="/messages">
        {texts.errors.toMessages}
      </Link>
    </Notice>
  );
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
