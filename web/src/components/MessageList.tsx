import { useEffect, useEffectEvent, useLayoutEffect, useMemo, useRef, useState } from 'react';
import { Virtualizer, type VirtualizerHandle } from 'virtua';

import type { FragmentType } from '../generated';
import type { PersonFragmentDoc } from '../generated/graphql';
import type { ListItem } from '../listItem';
import { buildRows } from '../rows';
import { useServices } from '../services';
import { jumpToNewest } from '../shortcuts';
import { texts } from '../texts';
import { Icon } from './Icon';
import { MessageRow } from './MessageItem';
import { Avatar, Handle, nameOf } from './Person';
import { Spinner } from './Spinner';

interface MessageListProps {
  groupUuid: string;
  other: FragmentType<typeof PersonFragmentDoc>;
  items: readonly ListItem[];
  hasPrevious: boolean;
  /** Loads the page before the oldest message. Returns whether that worked. */
  loadOlder: () => Promise<boolean>;
  /** The key of the message below the divider of unread messages. */
  firstUnread: string | null;
  unreadCount: number;
  readCursor: string | null;
  otherReadCursor: string | null;
}

/** Older messages are loaded long before the user reaches the oldest one. */
const LOAD_AT_PX = 2_000;
const AT_BOTTOM_PX = 48;
/** For this time after a jump to the end, the list stays there, whatever else scrolls it. */
const JUMP_MS = 500;
/** The part of the list that stays visible above the first unread message. */
const ABOVE_UNREAD_PX = 80;

export function MessageList(props: MessageListProps) {
  const { groupUuid, other, items, hasPrevious, firstUnread, unreadCount, readCursor, otherReadCursor } = props;
  const { readMarks } = useServices();
  const scroller = useRef<HTMLDivElement>(null);
  const list = useRef<VirtualizerHandle>(null);
  const rows = useMemo(() => buildRows(items, { hasPrevious, firstUnread }), [items, hasPrevious, firstUnread]);
  const lastRead = useMemo(() => lastReadOf(items, otherReadCursor), [items, otherReadCursor]);
  const older = useOlder(props);

  // If rows are added above, the virtualiser keeps the position only with `shift`.
  const [shown, setShown] = useState({ rows, isPrepended: false });
  if (shown.rows !== rows) setShown({ rows, isPrepended: isPrepend(shown.rows, rows) });

  const [isAtEnd, setAtEnd] = useState(true);
  /** Whether the list stays at its end when rows are added or change their size. */
  const follows = useRef(false);
  const jumpedAt = useRef(-Infinity);
  const last = useRef({ scrollTop: 0, scrollHeight: 0, clientHeight: 0 });
  const isPlaced = useRef(false);
  const newest = items.at(-1);
  const newCount = isAtEnd ? 0 : unreadCount;

  /**
   * Not with `scrollToIndex`: for a moment, the virtualiser would correct the position again and again, even if the user scrolls.
   * The observer below corrects it only while the list follows its end.
   */
  const scrollToEnd = (behavior: ScrollBehavior = 'instant') => {
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight, behavior });
  };

  /** Marks as read what is on the screen. */
  const markVisible = () => {
    const handle = list.current;
    if (!handle || document.hidden || unreadCount === 0) return;
    const lowest = handle.findItemIndex(handle.scrollOffset + handle.viewportSize - AT_BOTTOM_PX);
    const row = follows.current ? rows.at(-1) : rows[lowest];
    if (row?.kind !== 'message') return;
    const visible = items.findLastIndex(({ key }) => key === row.key);
    const seen = items.findLastIndex(({ message }, index) => message !== undefined && index <= visible);
    const read = items.findLastIndex(({ message }) => message?.cursor === readCursor);
    const cursor = items[seen]?.message?.cursor;
    if (cursor !== undefined && seen > read) readMarks.mark(groupUuid, cursor);
  };

  const loadIfNear = () => {
    if (hasPrevious && isPlaced.current && list.current && list.current.scrollOffset < LOAD_AT_PX) older.load();
  };

  const onScroll = () => {
    if (!scroller.current || !isPlaced.current) return;
    const { scrollTop, scrollHeight, clientHeight } = scroller.current;
    const { current: before } = last;
    // When rows are measured, both the size and the position change. If only the position changes, the user has scrolled.
    const isSameSize = scrollHeight === before.scrollHeight && clientHeight === before.clientHeight;
    if (scrollHeight - scrollTop - clientHeight < AT_BOTTOM_PX) follows.current = true;
    else if (isSameSize && scrollTop < before.scrollTop) {
      // Chromium continues the animation of the Home key after a jump.
      if (performance.now() - jumpedAt.current < JUMP_MS) scrollToEnd();
      else follows.current = false;
    }
    last.current = { scrollTop, scrollHeight, clientHeight };
    setAtEnd(follows.current);
    loadIfNear();
    markVisible();
  };

  const keepEnd = () => {
    if (isPlaced.current && follows.current) scrollToEnd();
  };

  const jump = () => {
    const handle = list.current;
    if (!handle) return;
    follows.current = true;
    jumpedAt.current = performance.now();
    const isNear = handle.scrollSize - handle.scrollOffset < 4 * handle.viewportSize;
    scrollToEnd(isNear && !matchMedia('(prefers-reduced-motion: reduce)').matches ? 'smooth' : 'instant');
  };

  // The first position: the first unread message, or the newest one.
  useLayoutEffect(() => {
    const handle = list.current;
    if (isPlaced.current || !handle) return;
    const unread = rows.findIndex((row) => row.kind === 'message' && row.startsUnread);
    if (unread >= 0) handle.scrollToIndex(unread, { align: 'start', offset: -ABOVE_UNREAD_PX });
    else scrollToEnd();
    follows.current = unread < 0;
    isPlaced.current = true;
  });

  // An own message always scrolls into view; others only if the user is at the end.
  const newestKey = newest?.key;
  const isNewestUnsent = newest?.pending !== undefined;
  const onNewest = useEffectEvent(() => {
    if (isNewestUnsent) follows.current = true;
    keepEnd();
    markVisible();
  });
  useLayoutEffect(() => onNewest(), [newestKey, isNewestUnsent, unreadCount]);
  const onReadMark = useEffectEvent(keepEnd);
  useLayoutEffect(() => onReadMark(), [lastRead]);

  // After a page has loaded, the list can still be near its start, without another scroll event.
  const onLoaded = useEffectEvent(loadIfNear);
  useEffect(() => onLoaded(), [older.state, rows]);

  const onFrame = useEffectEvent(keepEnd);
  const onVisible = useEffectEvent(markVisible);
  const onOpened = useEffectEvent(onScroll);
  useEffect(() => {
    // Rows are measured, the composer grows, or the on-screen keyboard opens.
    const observer = new ResizeObserver(() => onFrame());
    for (const element of [scroller.current, scroller.current?.lastElementChild])
      if (element) observer.observe(element);
    const listener = () => onVisible();
    document.addEventListener('visibilitychange', listener);
    // A list that is shorter than the screen never scrolls.
    const timer = setTimeout(() => onOpened());
    return () => {
      observer.disconnect();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', listener);
    };
  }, []);
  const onJump = useEffectEvent(jump);
  useEffect(() => jumpToNewest.on(() => onJump()), []);

  const name = nameOf(other);
  return (
    <div className="messages-frame">
      {older.state === 'loading' && (
        <div className="older">
          <Spinner label={texts.conversation.loadingOlder} />
        </div>
      )}
      {older.state === 'failed' && (
        <div className="older" role="alert">
          {texts.conversation.olderFailed}
          <button type="button" className="text-button" onClick={older.retry}>
            {texts.errors.retry}
          </button>
        </div>
      )}
      <div
        ref={scroller}
        className="messages"
        role="region"
        aria-label={texts.conversation.messages(name)}
        tabIndex={0}
      >
        <div className="messages-space" />
        <Virtualizer
          ref={list}
          scrollRef={scroller}
          data={rows}
          shift={shown.rows === rows && shown.isPrepended}
          bufferSize={600}
          onScroll={onScroll}
        >
          {(row) =>
            row.kind === 'start' ? (
              <div key={row.key} className="start">
                <Avatar user={other} size="large" />
                <Handle user={other} />
                <p>{texts.conversation.start(name)}</p>
              </div>
            ) : (
              <MessageRow key={row.key} row={row} other={other} isLastRead={row.key === lastRead} />
            )
          }
        </Virtualizer>
      </div>
      {!isAtEnd && (
        <button type="button" className="jump" onClick={jump} data-new={newCount > 0 ? true : undefined}>
          <Icon name="down" size={18} />
          {newCount > 0 ? texts.conversation.jumpCount(newCount) : texts.conversation.jump}
        </button>
      )}
    </div>
  );
}

/** Loads older messages, one page at a time. */
function useOlder({ loadOlder }: MessageListProps) {
  const [state, setState] = useState<'idle' | 'loading' | 'failed'>('idle');
  const isLoading = useRef(false);
  const run = async () => {
    if (isLoading.current) return;
    isLoading.current = true;
    setState('loading');
    const isLoaded = await loadOlder();
    isLoading.current = false;
    setState(isLoaded ? 'idle' : 'failed');
  };
  return {
    state,
    load: () => {
      // After a failure, only the user tries again; otherwise each scroll would cause a request.
      if (state !== 'failed') void run();
    },
    retry: () => void run(),
  };
}

type Rows = readonly { key: string }[];

function isPrepend(before: Rows, after: Rows): boolean {
  const first = before[0]?.key;
  return after.length > before.length && after[0]?.key !== first && after.some(({ key }) => key === first);
}

/** Returns the key of the newest own message that the other user has read, or null if there is none or a later reply shows it. */
function lastReadOf(items: readonly ListItem[], cursor: string | null): string | null {
  const read = cursor === null ? -1 : items.findLastIndex(({ message }) => message?.cursor === cursor);
  if (read === -1) return null;
  const own = items.findLastIndex(({ isOwn }, index) => isOwn && index <= read);
  const hasReply = items.findLastIndex(({ isOwn }) => !isOwn) > own;
  return hasReply ? null : (items[own]?.key ?? null);
}
