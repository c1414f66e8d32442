import { useNow } from '../clock';
import { formatClock, formatFull, formatRelative } from '../time';

/** Time since an event; ticks. */
export function RelativeTime({ iso }: { iso: string }) {
  const now = useNow();
  return (
    <time dateTime={iso} title={formatFull(iso)}>
      {formatRelative(iso, now)}
    </time>
  );
}

export function ClockTime({ iso }: { iso: string }) {
  return (
    <time dateTime={iso} title={formatFull(iso)}>
      {formatClock(iso)}
    </time>
  );
}
