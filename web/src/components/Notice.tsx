import type { ReactNode } from 'react';

import { Icon, type IconName } from './Icon';

interface NoticeProps {
  icon: IconName;
  title: string;
  text?: string;
  /** Whether screen readers announce it, because it replaces what the user was reading. */
  isAnnounced?: boolean;
  children?: ReactNode;
}

/** Fills a pane that has nothing else to show: empty, missing or failed. */
export function Notice({ icon, title, text, isAnnounced = false, children }: NoticeProps) {
  return (
    <div className="notice" role={isAnnounced ? 'alert' : undefined}>
      <span className="notice-icon">
        <Icon name={icon} size={28} />
      </span>
      <h2>{title}</h2>
      {text !== undefined && <p>{text}</p>}
      {children}
    </div>
  );
}
