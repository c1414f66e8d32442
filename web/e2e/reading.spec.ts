import {
  baseUrl,
  bubble,
  composer,
  expect,
  groupRow,
  isRequest,
  messages,
  OLDER,
  pill,
  readAll,
  send,
  setHidden,
  test,
  times,
  typeUntil,
  unique,
  write,
  type Page,
} from './fixtures';

/** Makes sure that a conversation has many messages. Returns its uuid. */
async function fill(count: number): Promise<string> {
  const uuid = await send('esi', 'dmitri', unique('Message'));
  await times(count - 1, (index) => {
    const [from, to] = index % 3 === 0 ? (['dmitri', 'esi'] as const) : (['esi', 'dmitri'] as const);
    return send(from, to, `Message ${index}. ${'Another line of text. '.repeat(index % 7)}`);
  });
  return uuid;
}

const scrollTo = (page: Page, top: number) =>
  messages(page).evaluate((element, value) => (element.scrollTop = value < 0 ? element.scrollHeight : value), top);

const distanceToEnd = (page: Page) =>
  messages(page).evaluate(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight);

/** Scrolls as a person does, until the newest message is out of sight, and waits until nothing moves any more. */
async function scrollUp(page: Page): Promise<void> {
  await expect(async () => {
    await messages(page).evaluate((element) => element.scrollBy(0, -1_200));
    await expect(page.getByRole('button', { name: /^Jump to newest/ })).toBeVisible({ timeout: 500 });
  }).toPass();
  await expect(page.getByText('Loading older messages')).toHaveCount(0);
}

/** The texts and positions of the rows on the screen. */
const positions = (page: Page) =>
  messages(page).evaluate((element) => {
    const frame = element.getBoundingClientRect();
    const rows = [...element.querySelectorAll<HTMLElement>('.row .bubble')];
    const visible = rows.map((row) => [row.textContent, row.getBoundingClientRect()] as const);
    return visible
      .filter(([, box]) => box.bottom > frame.top && box.top < frame.bottom)
      .map(([text, { top }]) => [text, top] as const);
  });

test('2: loading older messages moves nothing on the screen', async ({ open }) => {
  const uuid = await fill(150);
  await readAll('dmitri', uuid);
  await readAll('esi', uuid);
  const page = await open('dmitri', '/messages');
  const gates: (() => void)[] = [];
  let isGated = true;
  await page.route('**/graphql', async (route) => {
    if (isGated && isRequest(route, OLDER)) await new Promise<void>((resolve) => gates.push(resolve));
    await route.continue();
  });
  await groupRow(page, 'Esi').click();
  await expect.poll(() => distanceToEnd(page)).toBeLessThan(3);
  // The oldest rows are on the screen, although the client would have loaded more by now.
  await scrollTo(page, 0);
  await expect.poll(() => gates.length).toBe(1);
  await expect(page.getByText('Loading older messages')).toBeAttached();
  await expect.poll(async () => (await positions(page)).length).toBeGreaterThan(2);
  await expect.poll(() => messages(page).evaluate(({ scrollTop }) => scrollTop)).toBe(0);

  const before = await positions(page);
  isGated = false;
  gates[0]?.();
  await expect(page.getByText('Loading older messages')).toHaveCount(0);
  await expect.poll(() => messages(page).evaluate(({ scrollTop }) => scrollTop)).toBeGreaterThan(500);
  const after = new Map(await positions(page));
  for (const [text, top] of before) expect(Math.abs((after.get(text) ?? Infinity) - top), text).toBeLessThanOrEqual(3);
});

test('3: new messages scroll into view only at the bottom', async ({ open }) => {
  const uuid = await fill(60);
  await readAll('dmitri', uuid);
  const page = await open('dmitri', `/messages/${uuid}`);
  await composer(page).waitFor();
  const first = unique('At the bottom');
  const marked = page.waitForResponse((response) => isRequest(response, 'MarkRead'));
  await send('esi', 'dmitri', first);
  await expect(bubble(page, first)).toBeInViewport();
  // Otherwise the button counts this message too.
  await marked;

  await scrollUp(page);
  const before = await positions(page);
  const texts = [unique('Not in view'), unique('Not in view either')];
  for (const text of texts) await send('esi', 'dmitri', text);
  const jump = page.getByRole('button', { name: 'Jump to newest (2)' });
  await expect(jump).toBeVisible();
  const after = new Map(await positions(page));
  for (const [text, top] of before) expect(Math.abs((after.get(text) ?? Infinity) - top), text).toBeLessThanOrEqual(3);
  await jump.click();
  await expect(bubble(page, texts[1] ?? '')).toBeInViewport();
  await expect(jump).toHaveCount(0);
});

test('3: one’s own message scrolls into view from anywhere', async ({ open }) => {
  const uuid = await fill(40);
  const page = await open('dmitri', `/messages/${uuid}`);
  await composer(page).waitFor();
  await scrollUp(page);
  const text = unique('Mine');
  await write(page, text);
  await expect(bubble(page, text)).toBeInViewport();
});

test('4: a conversation opens at the first unread message, and reading marks as read', async ({ open, isMobile }) => {
  const uuid = await send('ben', 'ana', unique('Read'));
  await readAll('ana', uuid);
  await readAll('ana', await send('chloe', 'ana', unique('Read')));
  const page = await open('ana', '/messages');
  await groupRow(page, 'Ben').waitFor();
  await expect(page).toHaveTitle('Cruddur Messages');
  const texts = Array.from({ length: 60 }, (_, index) => unique(`Unread ${index}`));
  for (const text of texts) await send('ben', 'ana', text);
  await expect(groupRow(page, 'Ben').getByText('60 unread messages')).toBeAttached();
  await expect(page).toHaveTitle('(60) Cruddur Messages');

  await groupRow(page, 'Ben').click();
  await expect(page.getByText('New messages', { exact: true }).first()).toBeInViewport();
  await expect(bubble(page, texts[0] ?? '')).toBeInViewport();
  await expect(bubble(page, texts[0] ?? '').locator('.unread-divider')).toBeVisible();
  // Only what was on the screen is read.
  await expect(page).toHaveTitle(/^\((?:[1-5]\d)\) Ben Okafor/);
  await page.getByRole('button', { name: /^Jump to newest/ }).click();
  await expect(page).toHaveTitle('Ben Okafor · Cruddur Messages');
  if (!isMobile) await expect(groupRow(page, 'Ben').locator('.badge')).toHaveCount(0);
  await page.reload();
  await expect(page.locator('.unread-divider')).toHaveCount(0);
  await expect(page).toHaveTitle('Ben Okafor · Cruddur Messages');
});

test('4: unread messages that are far up are loaded before the conversation opens', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Read'));
  await readAll('ana', uuid);
  const first = unique('Far up');
  await send('ben', 'ana', first);
  await times(149, () => send('ben', 'ana', unique('Far')));
  const page = await open('ana', `/messages/${uuid}`);
  await expect(bubble(page, first)).toBeInViewport();
  await expect(bubble(page, first).locator('.unread-divider')).toBeVisible();
  await readAll('ana', uuid);
});

test('5: days are separated, and consecutive messages of one author are grouped', async ({ open }) => {
  const [first, second, answer] = [unique('First'), unique('Second'), unique('Answer')];
  await send('chloe', 'ana', unique('Hello'));
  await send('ana', 'chloe', first);
  await send('ana', 'chloe', second);
  const uuid = await send('chloe', 'ana', answer);
  await readAll('ana', uuid);
  const page = await open('ana', `/messages/${uuid}`);
  await expect(bubble(page, first)).toHaveAttribute('data-starts', 'true');
  await expect(bubble(page, second)).not.toHaveAttribute('data-starts');
  await expect(bubble(page, second)).toHaveAttribute('data-ends', 'true');
  await expect(bubble(page, answer)).toHaveAttribute('data-starts', 'true');
  const days = new Set<string>();
  await expect(async () => {
    await messages(page).evaluate((element) => element.scrollBy(0, -600));
    for (const day of await page.locator('.day').allTextContents()) days.add(day);
    expect(days.size).toBeGreaterThan(1);
  }).toPass();
  expect([...days]).toContain('Today');
  expect([...days].join()).toMatch(/1[01] February/);
});

test('10: the log announces new messages only', async ({ open }) => {
  const uuid = await fill(60);
  await readAll('dmitri', uuid);
  const page = await open('dmitri', `/messages/${uuid}`);
  await composer(page).waitFor();
  await expect(pill(page)).toHaveCount(0);
  const log = page.getByRole('log');
  await expect(log).toHaveCount(1);
  await expect(log).toHaveText('');
  await scrollTo(page, 0);
  await expect.poll(async () => (await positions(page)).length).toBeGreaterThan(2);
  await expect(log).toHaveText('');
  const text = unique('Announced');
  await send('esi', 'dmitri', text);
  await expect(log).toHaveText(new RegExp(`: ${text}$`));
  await write(page, unique('Not announced'));
  await expect(log.locator('p')).toHaveCount(1);
});

test('13: relative times tick, and show the absolute time on hover', async ({ open }) => {
  await send('ben', 'ana', unique('Tick'));
  const page = await open('ana', '');
  await page.clock.install();
  await page.goto(`${baseUrl()}/messages`);
  const time = groupRow(page, 'Ben').locator('time');
  await expect(time).toHaveText('now');
  await expect(time).toHaveAttribute('title', /\d{4}/);
  // The client corrects the clock of the page with each response, so there must be none after the jump.
  await page.context().setOffline(true);
  await expect(pill(page)).toHaveText(/You are offline/);
  await page.clock.fastForward('05:00');
  await expect(time).toHaveText(/^[45] ?m(?:in)?\.? ago$/);
});

test('13: times are plausible although the clock of the browser is an hour slow or fast', async ({ open }) => {
  await send('ben', 'ana', unique('Now'));
  for (const hours of [-1, 1]) {
    const page = await open('ana', '');
    await page.clock.install({ time: Date.now() + hours * 3_600_000 });
    await page.goto(`${baseUrl()}/messages`);
    await expect(groupRow(page, 'Ben').locator('time')).toHaveText(/^(?:now|1 ?m(?:in)?\.? ago)$/);
    await groupRow(page, 'Ben').click();
    const text = unique('Sent with a wrong clock');
    await write(page, text);
    await page.clock.runFor(500);
    await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  }
});

test('16: typing is shown, and the read mark is under the last message read', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const [ana, ben] = [await open('ana', `/messages/${uuid}`), await open('ben', `/messages/${uuid}`)];
  await composer(ana).waitFor();
  await composer(ben).waitFor();
  await expect(ana.locator('.typing')).toHaveCount(0);
  await typeUntil(ben, () => expect(ana.locator('.typing')).toBeVisible({ timeout: 4_000 }));
  const text = unique('Read me');
  await write(ben, text);
  await expect(bubble(ana, text)).toBeVisible();
  await expect(ana.locator('.typing')).toHaveCount(0);
  await expect(bubble(ben, text).locator('.read-mark')).toBeVisible();
  await expect(ben.locator('.read-mark')).toHaveCount(1);
});

test('a user opens a conversation that was written to them in a hidden tab below a divider', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await readAll('ana', uuid);
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  await expect(pill(page)).toHaveCount(0);
  await setHidden(page, true);
  const text = unique('While you were away');
  await send('ben', 'ana', text);
  await expect(bubble(page, text).locator('.unread-divider')).toBeVisible();
  await expect(page).toHaveTitle(/^\(1\)/);
  await setHidden(page, false);
  await expect(page).toHaveTitle(/^Ben/);
});
