import type { CombinedError } from '@urql/core';

import { failureOf } from '../api';
import { texts } from '../texts';
import { Notice } from './Notice';

interface LoadFailedProps {
  title: string;
  error: CombinedError;
  onRetry: () => void;
}

/** Fills a pane whose data could not be loaded. */
export function LoadFailed({ title, error, onRetry }: LoadFailedProps) {
  const { isUnreachable } = failureOf(error);
  return (
    <Notice
      icon={isUnreachable ? 'offline' : 'alert'}
      title={title}
      text={isUnreachable ? texts.errors.unreachable : texts.errors.unavailable}
    >
      <button type="button" className="button" onClick={onRetry}>
        {texts.errors.retry}
      </button>
    </Notice>
  );
}
