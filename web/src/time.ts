// Formats of times, all in the language of the texts and in the time zone of the browser.

import { LOCALE, texts } from './texts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: 'auto', style: 'narrow' });
const clock = new Intl.DateTimeFormat(LOCALE, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(LOCALE, { weekday: 'long' });
const dayAndMonth = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'short' });
const longDay = new Intl.DateTimeFormat(LOCALE, { weekday: 'long', day: 'numeric', month: 'long' });
const longDayAndYear = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'long', year: 'numeric' });
const shortDate = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'short', year: 'numeric' });
const full = new Intl.DateTimeFormat(LOCALE, { dateStyle: 'full', timeStyle: 'medium' });

/** Time since an event, such as "5m ago". A time in the future counts as now, because the clocks can differ. */
export function formatRelative(iso: string, now: number): string {
  const then = Date.parse(iso);
  const elapsed = Math.max(0, now - then);
  if (elapsed < MINUTE) return texts.time.now;
  if (elapsed < HOUR) return relative.format(-Math.floor(elapsed / MINUTE), 'minute');
  const days = daysBetween(then, now);
  if (elapsed < DAY && days === 0) return relative.format(-Math.floor(elapsed / HOUR), 'hour');
  if (days <= 1) return relative.format(-1, 'day');
  if (days < 7) return weekday.format(then);
  return (sameYear(then, now) ? dayAndMonth : shortDate).format(then);
}

/** Heading of a day in a conversation. */
export function formatDay(iso: string, now: number): string {
  const then = Date.parse(iso);
  const days = daysBetween(then, now);
  if (days <= 0) return texts.time.today;
  if (days === 1) return texts.time.yesterday;
  return (sameYear(then, now) ? longDay : longDayAndYear).format(then);
}

export function formatClock(iso: string): string {
  return clock.format(Date.parse(iso));
}

export function formatFull(iso: string): string {
  return full.format(Date.parse(iso));
}

/** Identifies the day of a time in the time zone of the browser. */
export function dayOf(iso: string): string {
  let day = days.get(iso);
  if (day === undefined) {
    if (days.size > MAX_DAYS) days.clear();
    days.set(iso, (day = new Date(iso).toDateString()));
  }
  return day;
}

/** The results of `dayOf`, because a long conversation needs the days of all its messages whenever one arrives. */
const days = new Map<string, string>();
const MAX_DAYS = 50_000;

/** Number of midnights between two times. A day can have 23 or 25 hours, so the result is rounded. */
function daysBetween(then: number, now: number): number {
  const midnight = (time: number) => new Date(time).setHours(0, 0, 0, 0);
  return Math.round((midnight(now) - midnight(then)) / DAY);
}

function sameYear(then: number, now: number): boolean {
  return new Date(then).getFullYear() === new Date(now).getFullYear();
}
