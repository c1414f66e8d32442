import { useEffect, useLayoutEffect, useRef, type KeyboardEvent } from 'react';

import { useServices } from '../services';
import { useStore } from '../store';
import { texts } from '../texts';
import { signalTyping } from '../typing';
import { Icon } from './Icon';

/** The server's limit, in code points. */
const MAX_LENGTH = 1_024;
/** The counter appears when only this many code points are left. */
const SHOW_COUNTER_AT = 124;
const WARN_AT = 24;

/** Number of code points; `length` counts UTF-16 units. */
function countCodePoints(text: string): number {
  return Array.from(text).length;
}

interface ComposerProps {
  /** Identifies the draft. */
  conversation: string;
  /** Undefined before the first message. Then the client sends no typing signals. */
  groupUuid?: string;
  name: string;
  onSend: (body: string) => void;
}

export function Composer({ conversation, groupUuid, name, onSend }: ComposerProps) {
  const { drafts, client } = useServices();
  // Also changes when the user writes or sends it in another tab.
  const text = useStore(drafts.texts).get(conversation) ?? '';
  const field = useRef<HTMLTextAreaElement>(null);

  // As the server counts: code points, not UTF-16 units.
  const remaining = MAX_LENGTH - countCodePoints(text.trim());
  const isTooLong = remaining < 0;
  const canSend = text.trim() !== '' && !isTooLong;

  useEffect(() => {
    // On a touch screen, the focus would open the on-screen keyboard over the messages.
    if (matchMedia('(pointer: coarse)').matches) document.getElementById('conversation-heading')?.focus();
    else field.current?.focus({ preventScroll: true });
  }, [conversation]);

  useLayoutEffect(() => {
    const element = field.current;
    // A browser without `field-sizing` does not grow the field by itself.
    if (!element || CSS.supports('field-sizing', 'content')) return undefined;
    const fit = () => {
      // While the field is measured, the form keeps its height. Otherwise the list would grow for a moment, and leave its end.
      const { form } = element;
      if (form) form.style.height = `${form.offsetHeight}px`;
      element.style.height = 'auto';
      element.style.height = `${element.scrollHeight}px`;
      if (form) form.style.height = '';
    };
    fit();
    addEventListener('resize', fit);
    return () => removeEventListener('resize', fit);
  }, [text]);

  const change = (next: string) => {
    drafts.set(conversation, next);
    if (groupUuid !== undefined && next.trim() !== '') signalTyping(client, groupUuid);
  };

  const send = () => {
    if (!canSend) return;
    onSend(text.trim());
    drafts.set(conversation, '');
    field.current?.focus();
  };

  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    // Safari ends a composition before the key event, and reports the key code 229: https://bugs.webkit.org/show_bug.cgi?id=165004
    // On Android, the last word is a composition until a space follows, also when the user presses "Send".
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- nothing else tells it in Safari
    const { keyCode } = event;
    if (keyCode === 229 || (event.nativeEvent.isComposing && !navigator.userAgent.includes('Android'))) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === 'Escape') {
      document.querySelector<HTMLElement>('a.group[aria-current], a.group')?.focus();
    }
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div className="composer-field" data-invalid={isTooLong ? true : undefined}>
        <textarea
          ref={field}
          rows={1}
          dir="auto"
          value={text}
          placeholder={texts.composer.placeholder}
          aria-label={texts.composer.label(name)}
          aria-describedby="composer-counter composer-hint"
          aria-invalid={isTooLong ? true : undefined}
          enterKeyHint="send"
          onChange={(event) => change(event.target.value)}
          onKeyDown={onKeyDown}
        />
        <span
          id="composer-counter"
          className="counter"
          role="status"
          data-level={isTooLong ? 'over' : remaining <= WARN_AT ? 'warn' : undefined}
        >
          {remaining <= SHOW_COUNTER_AT && (
            <>
              <span aria-hidden="true">{String(remaining).replace('-', '−')}</span>
              {/* Announced at the thresholds only, not for each key. */}
              <span className="visually-hidden">
                {isTooLong
                  ? texts.composer.over(-remaining)
                  : remaining <= WARN_AT
                    ? texts.composer.remaining(WARN_AT)
                    : texts.composer.remaining(SHOW_COUNTER_AT)}
              </span>
            </>
          )}
        </span>
        <button
          type="submit"
          className="send"
          disabled={!canSend}
          aria-label={texts.composer.send}
          title={texts.composer.send}
        >
          <Icon name="send" />
        </button>
      </div>
      <span id="composer-hint" className="visually-hidden">
        {texts.composer.hint}
      </span>
    </form>
  );
}
