import { Component, type ReactNode } from 'react';

import { texts } from '../texts';
import { Notice } from './Notice';

/** Shows a page instead of nothing if a component throws. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { hasFailed: boolean }> {
  override state = { hasFailed: false };

  static getDerivedStateFromError() {
    return { hasFailed: true };
  }

  override render() {
    if (!this.state.hasFailed) return this.props.children;
    return (
      <main className="page">
        <Notice icon="alert" title={texts.errors.crashTitle} text={texts.errors.crashText}>
          <button type="button" className="button" onClick={() => location.reload()}>
            {texts.errors.reload}
          </button>
        </Notice>
      </main>
    );
  }
}
