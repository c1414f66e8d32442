import { useEffect, useState } from 'react';
import { Provider } from 'urql';

import { session } from '../auth';
import { ServicesProvider, startServices, type Services } from '../services';
import { useStore } from '../store';
import { Shell } from './Shell';
import { SignIn } from './SignIn';

export function App() {
  const current = useStore(session);
  if (current.kind !== 'signedIn') return <SignIn session={current} />;
  return <SignedIn key={current.userId} userId={current.userId} />;
}

function SignedIn({ userId }: { userId: string }) {
  const [services, setServices] = useState<Services | null>(null);
  useEffect(() => {
    const started = startServices(userId);
    // eslint-disable-next-line react-hooks/set-state-in-effect -- the services open connections, so an effect owns them
    setServices(started);
    return () => {
      started.stop();
      setServices(null);
    };
  }, [userId]);

  if (!services) return null;
  return (
    <ServicesProvider value={services}>
      <Provider value={services.client}>
        <Shell />
      </Provider>
    </ServicesProvider>
  );
}
