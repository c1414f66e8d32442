import type { ReactNode } from 'react';

import { Icon, type IconName } from './Icon';

interface NoticeProps {
  icon: IconName;
  title: string;
  text?: string;
  children?: ReactNode;
}

/** Fills a pane that has nothing else to show: empty, missing or failed. */
export function Notice({ icon, title, text, children }: NoticeProps) {
  return (
    <div className="notice">
      <span className="notice-icon">
        <Icon name={icon} size={28} />
      </span>
      <h2>{title}</h2>
      {text !== undefined && <p>{text}</p>}
      {children}
    </div>
  );
}
