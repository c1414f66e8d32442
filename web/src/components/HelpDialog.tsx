import { useEffect, useRef } from 'react';

import { texts } from '../texts';

export function HelpDialog({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const opener = document.activeElement;
    dialog.current?.showModal();
    // On a low screen, the focus has scrolled to the button at the end.
    dialog.current?.scrollTo(0, 0);
    return () => {
      if (opener instanceof HTMLElement) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      className="dialog"
      aria-labelledby="help-heading"
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && dialog.current.close()}
    >
      <div className="dialog-content">
        <h2 id="help-heading">{texts.help.heading}</h2>
        <dl className="keys">
          {texts.help.keys.map(([keys, meaning]) => (
            <div key={meaning}>
              <dt>
                {keys.map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
        <button type="button" className="button" autoFocus onClick={() => dialog.current?.close()}>
          {texts.help.close}
        </button>
      </div>
    </dialog>
  );
}
