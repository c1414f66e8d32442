import { Provider } from 'urql';

import { session } from '../auth';
import { runningServices, ServicesProvider } from '../services';
import { useStore } from '../store';
import { Shell } from './Shell';
import { SignIn } from './SignIn';

export function App() {
  const current = useStore(session);
  const services = useStore(runningServices);
  if (current.kind !== 'signedIn') return <SignIn session={current} />;
  // The services start and stop with the session.
  if (!services) return null;
  return (
    <ServicesProvider key={services.userId} value={services}>
      <Provider value={services.client}>
        <Shell />
      </Provider>
    </ServicesProvider>
  );
}
