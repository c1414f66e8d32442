import { useEffect, useEffectEvent } from 'react';
import { useLocation } from 'wouter';

import { useGroups } from './hooks';
import { createEmitter } from './store';

/** Asks the open conversation to show its newest message. */
export const jumpToNewest = createEmitter<undefined>();

/** The keys that work everywhere. The help dialog lists them. */
export function useShortcuts(openHelp: () => void): void {
  const [location, navigate] = useLocation();
  const { groups = [] } = useGroups();

  const go = (step: number) => {
    const index = groups.findIndex(({ uuid }) => location === `/messages/${uuid}`);
    const target = groups[index === -1 ? (step > 0 ? 0 : groups.length - 1) : index + step];
    if (target) navigate(`/messages/${target.uuid}`);
  };

  const onKeyDown = useEffectEvent((event: KeyboardEvent) => {
    if (event.isComposing || document.querySelector('dialog[open]')) return;
    const action = actionOf(event, { go, navigate, openHelp });
    if (!action) return;
    event.preventDefault();
    action();
  });

  useEffect(() => {
    const listener = (event: KeyboardEvent) => onKeyDown(event);
    document.addEventListener('keydown', listener);
    return () => document.removeEventListener('keydown', listener);
  }, []);
}

interface Actions {
  go: (step: number) => void;
  navigate: (path: string) => void;
  openHelp: () => void;
}

function actionOf(event: KeyboardEvent, { go, navigate, openHelp }: Actions): (() => void) | undefined {
  const { altKey, ctrlKey, metaKey, code, key } = event;
  if ((ctrlKey || metaKey) && !altKey && key === '/') return openHelp;
  if (!altKey && !ctrlKey && !metaKey && key === '?' && !isTextField(event.target)) return openHelp;
  if (altKey && !ctrlKey && !metaKey) {
    // On macOS, the same key moves the cursor by a paragraph, and writes letters such as ñ.
    if (isMac() && hasText(event.target)) return undefined;
    if (key === 'ArrowDown') return () => go(1);
    if (key === 'ArrowUp') return () => go(-1);
    if (key === 'End') return () => jumpToNewest.emit(undefined);
    // With Alt, `key` is another character on some keyboards.
    if (code === 'KeyN' && !(isMac() && isTextField(event.target))) return () => navigate('/messages/new');
  }
  return undefined;
}

function isTextField(target: EventTarget | null): target is HTMLInputElement | HTMLTextAreaElement {
  return target instanceof HTMLElement && target.matches('input, textarea');
}

function hasText(target: EventTarget | null): boolean {
  return isTextField(target) && target.value !== '';
}

function isMac(): boolean {
  return navigator.userAgent.includes('Mac OS');
}
