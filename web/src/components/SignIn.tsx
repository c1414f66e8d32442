import { useEffect } from 'react';

import { signIn, signOut, type Session } from '../auth';
import { texts } from '../texts';
import { Icon } from './Icon';
import { Notice } from './Notice';
import { Spinner } from './Spinner';

type NotSignedIn = Exclude<Session, { kind: 'signedIn' }>;

/** Everything that is shown while nobody is signed in. */
export function SignIn({ session }: { session: NotSignedIn }) {
  useEffect(() => {
    document.title = texts.product;
  }, []);
  return (
    <main className="page">
      <h1 className="brand">
        <span className="brand-mark">
          <Icon name="chat" size={22} />
        </span>
        {texts.product}
      </h1>
      <Content session={session} />
    </main>
  );
}

function Content({ session }: { session: NotSignedIn }) {
  const t = texts.signIn;
  if (session.kind === 'starting') return <Spinner label={t.working} />;
  if (session.kind === 'leaving') return <Spinner label={t.leaving} />;
  if (session.kind === 'storageBlocked') {
    return (
      <Notice icon="alert" title={t.storageTitle} text={t.storageText} isAnnounced>
        <button type="button" className="button" autoFocus onClick={() => location.reload()}>
          {texts.errors.retry}
        </button>
      </Notice>
    );
  }
  if (session.kind === 'unreachable') {
    return (
      <Notice icon="offline" title={t.unreachableTitle} text={t.unreachableText}>
        <Spinner label={texts.connection.reconnecting} />
        {/* A browser hides a refusal without CORS headers, so it can look like a network error. */}
        <button type="button" className="text-button" onClick={() => void signIn()}>
          {t.again}
        </button>
      </Notice>
    );
  }
  if (session.kind === 'notRegistered') {
    const { title, text, advice } = texts.notRegistered[session.reason];
    return (
      <Notice icon="person" title={title} text={text} isAnnounced>
        <p>{advice}</p>
        <button type="button" className="button" autoFocus onClick={() => location.reload()}>
          {texts.errors.retry}
        </button>
        {/* Also signs out at the user pool. Otherwise it would sign in the same account again. */}
        <button type="button" className="text-button" onClick={() => void signOut()}>
          {texts.notRegistered.otherAccount}
        </button>
      </Notice>
    );
  }
  const [icon, title, text] = (
    {
      expired: ['clock', t.expiredTitle, t.expiredText],
      failed: ['alert', t.failedTitle, t.failedText],
      left: ['wave', t.signedOutTitle, t.signedOutText],
    } as const
  )[session.why];
  return (
    <Notice icon={icon} title={title} text={text} isAnnounced={session.why !== 'left'}>
      {/* The only thing to do on this page. */}
      <button type="button" className="button" autoFocus onClick={() => void signIn()}>
        {session.why === 'left' ? t.button : t.again}
      </button>
    </Notice>
  );
}
