import { useServices } from '../services';
import { useStore } from '../store';
import { texts } from '../texts';
import { Icon } from './Icon';

/** Says that the client is offline or connecting. CSS delays it, so that a short interruption is not shown. */
export function ConnectionBanner() {
  const { live } = useServices();
  const connection = useStore(live.connection);
  const isOffline = connection === 'offline';
  return (
    <div className="connection" role="status">
      {connection !== 'live' && (
        <span className="connection-pill" data-connection={connection}>
          {isOffline ? <Icon name="offline" size={16} /> : <span className="spinner-ring" aria-hidden="true" />}
          <span>{isOffline ? texts.connection.offline : texts.connection.reconnecting}</span>
        </span>
      )}
    </div>
  );
}
