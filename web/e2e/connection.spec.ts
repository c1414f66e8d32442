import {
  api,
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
  unique,
  write,
} from './fixtures';

test('11: offline is shown, messages wait, and afterwards nothing is missing', async ({ open, isMobile }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await readAll('ana', uuid);
  await readAll('ana', await send('chloe', 'ana', unique('Hello')));
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  await expect(pill(page)).toHaveCount(0);

  await page.context().setOffline(true);
  await expect(pill(page)).toHaveText(/You are offline/);
  const waiting = unique('Written offline');
  await write(page, waiting);
  await expect(bubble(page, waiting)).toHaveAttribute('data-state', 'queued');
  await expect(bubble(page, waiting).getByText('Waiting for the connection').last()).toBeVisible();
  const missed = [unique('Missed'), unique('Missed too')];
  for (const text of missed) await send('ben', 'ana', text);
  for (let index = 0; index < 3; index += 1) await send('chloe', 'ana', unique('Missed'));

  await page.context().setOffline(false);
  await expect(pill(page)).toHaveCount(0);
  for (const text of missed) await expect(messages(page).getByText(text)).toHaveCount(1);
  await expect(bubble(page, waiting)).toHaveAttribute('data-state', 'sent');
  await expect(messages(page).getByText(waiting)).toHaveCount(1);
  await expect(page).toHaveTitle('(3) Ben Okafor · Cruddur Messages');
  if (!isMobile) await expect(groupRow(page, 'Chloé').getByText('3 unread messages')).toBeAttached();
});

test('11: the client reconnects when the stream breaks, and resumes from its cursor', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', '');
  const cursors: (string | null)[] = [];
  let isDown = false;
  await page.route('**/graphql', async (route) => {
    if (isDown) return route.abort('connectionrefused');
    if (!isRequest(route, 'subscription Feed')) return route.fallback();
    const { variables } = route.request().postDataJSON() as { variables: { after: string | null } };
    cursors.push(variables.after);
    // The first stream ends after its first event.
    if (cursors.length > 1) return route.fallback();
    isDown = true;
    const stream = { 'content-type': 'text/event-stream' };
    const ready = { data: { feed: { __typename: 'FeedReady', cursor: await currentCursor() } } };
    return route.fulfill({ headers: stream, body: `event: next\ndata: ${JSON.stringify(ready)}\n\n` });
  });
  const currentCursor = async () => {
    const { feed } = await api<{ feed: { endCursor: string } }>('ana', '{ feed(first: 100) { endCursor } }');
    return feed.endCursor;
  };
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  // The page also shows that it connects before its first stream.
  await expect.poll(() => isDown).toBe(true);
  await expect(pill(page)).toHaveText('Connecting…');
  const text = unique('While the stream was broken');
  await send('ben', 'ana', text);
  isDown = false;
  await expect(bubble(page, text)).toBeVisible();
  await expect(pill(page)).toHaveCount(0);
  expect(cursors[0]).toBeNull();
  expect(cursors.at(-1)).not.toBeNull();
});

test('11: after a reset of the feed, the client queries everything again', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  await expect(pill(page)).toHaveCount(0);
  // A message that the feed never delivers.
  const text = unique('Not in the feed');
  const reset = { data: { feed: { __typename: 'FeedReset', cursor: 'x', reason: 'EXPIRED' } } };
  let [isBack, streams] = [false, 0];
  await page.route('**/graphql', (route) => {
    if (!isRequest(route, 'subscription Feed')) return route.fallback();
    if (isBack) streams += 1;
    if (streams !== 1) return route.abort('connectionrefused');
    const stream = { 'content-type': 'text/event-stream' };
    return route.fulfill({ headers: stream, body: `event: next\ndata: ${JSON.stringify(reset)}\n\n` });
  });
  await page.context().setOffline(true);
  await expect(pill(page)).toBeVisible();
  await send('ben', 'ana', text);
  await page.context().setOffline(false);
  isBack = true;
  await expect(bubble(page, text)).toBeVisible();
});

test('a browser without a network uses a server on the same computer', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', '');
  await page.addInitScript(() => Object.defineProperty(navigator, 'onLine', { value: false }));
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await composer(page).waitFor();
  await expect(pill(page)).toHaveCount(0);
  const [sent, received] = [unique('Without a network'), unique('Live')];
  await write(page, sent);
  await expect(bubble(page, sent)).toHaveAttribute('data-state', 'sent');
  await send('ben', 'ana', received);
  await expect(bubble(page, received)).toBeVisible();
});

test('read markers that moved while only their stream was broken are shown', async ({ open }) => {
  const uuid = await send('ana', 'ben', unique('Hello'));
  const page = await open('ana', '');
  await page.clock.install();
  let streams = 0;
  await page.route('**/graphql', (route) => {
    if (!isRequest(route, 'subscription Activity')) return route.fallback();
    streams += 1;
    if (streams > 1) return route.fallback();
    return route.fulfill({ headers: { 'content-type': 'text/event-stream' }, body: 'event: complete\ndata:\n\n' });
  });
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await composer(page).waitFor();
  await expect.poll(() => streams).toBe(1);
  await expect(pill(page)).toHaveCount(0);
  await readAll('ben', uuid);
  await page.clock.runFor(16_000);
  await expect(page.locator('.read-mark')).toBeVisible();
});

test('a conversation that was opened before an interruption is complete when it is opened again', async ({
  open,
  isMobile,
}) => {
  test.skip(isMobile, 'the list is not beside a conversation');
  await readAll('ana', await send('chloe', 'ana', unique('Hello')));
  const uuid = await send('ana', 'ben', unique('Hello'));
  const page = await open('ana', '');
  let isDown = false;
  await page.route('**/graphql', (route) =>
    isDown && isRequest(route, 'subscription') ? route.abort('connectionrefused') : route.fallback(),
  );
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await composer(page).waitFor();
  await expect(pill(page)).toHaveCount(0);
  await groupRow(page, 'Chloé').click();
  await expect(page.getByRole('textbox', { name: /^Message to Chloé/ })).toBeVisible();
  isDown = true;
  // Cuts the streams.
  await page.evaluate(() => dispatchEvent(new Event('offline')));
  await expect(pill(page)).toBeVisible();
  await readAll('ben', uuid);
  isDown = false;
  await expect(pill(page)).toHaveCount(0);
  await groupRow(page, 'Ben').click();
  await expect(page.locator('.read-mark')).toBeVisible();
});

test('17: two browsers side by side, and a third device that catches up', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const [ana, ben] = [await open('ana', `/messages/${uuid}`), await open('ben', `/messages/${uuid}`)];
  await composer(ana).waitFor();
  await composer(ben).waitFor();
  for (const page of [ana, ben]) await expect(pill(page)).toHaveCount(0);
  const delays: number[] = [];
  for (const [from, to] of [
    [ana, ben],
    [ben, ana],
    [ana, ben],
    [ben, ana],
    [ana, ben],
  ] as const) {
    const text = unique('Side by side');
    await composer(from).fill(text);
    const startedAt = Date.now();
    await composer(from).press('Enter');
    await expect(bubble(to, text)).toBeVisible();
    delays.push(Date.now() - startedAt);
  }
  // Not asserted, because other programs of the machine delay them.
  console.log(`delays of messages between two browsers: ${delays.join(', ')} ms`);

  const third = await open('ana', `/messages/${uuid}`);
  await composer(third).waitFor();
  await third.goto('about:blank');
  const texts = [unique('Closed'), unique('Closed too')];
  for (const text of texts) await send('ben', 'ana', text);
  await third.goto(`${baseUrl()}/messages/${uuid}`);
  for (const text of texts) await expect(messages(third).getByText(text)).toHaveCount(1);
});

test('reading on one device clears the count on the other', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await readAll('ana', uuid);
  const other = await open('ana', '/messages');
  await groupRow(other, 'Ben').waitFor();
  await expect(pill(other)).toHaveCount(0);
  await send('ben', 'ana', unique('Unread'));
  await expect(groupRow(other, 'Ben').getByText('1 unread message')).toBeAttached();
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  await expect(groupRow(other, 'Ben').locator('.badge')).toHaveCount(0);
});

test('the server is away when the page loads, and comes back', async ({ open, page: anonymous }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', '');
  let isDown = true;
  for (const each of [page, anonymous])
    await each.route(/graphql|config\.json/, (route) => (isDown ? route.abort('connectionrefused') : route.fallback()));
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await expect(page.locator('.pane').getByText('The server cannot be reached.')).toBeVisible();
  await anonymous.goto(`${baseUrl()}/messages/${uuid}`);
  await expect(anonymous.getByRole('heading', { name: 'The server cannot be reached' })).toBeVisible();
  isDown = false;
  await expect(composer(page)).toBeVisible();
  await anonymous.waitForURL(/\/oauth2\/authorize/);
});

test('the API is away: each pane says so, and recovers by itself', async ({ open, isMobile }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', '');
  let isDown = true;
  const unavailable = { errors: [{ message: 'unavailable', extensions: { code: 'UNAVAILABLE' } }] };
  await page.route('**/graphql', (route) =>
    isDown ? route.fulfill({ status: 503, json: unavailable }) : route.fallback(),
  );
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await expect(page.getByRole('heading', { name: 'Messages could not be loaded' })).toBeVisible();
  if (!isMobile) await expect(page.getByRole('heading', { name: 'Conversations could not be loaded' })).toBeVisible();
  isDown = false;
  await expect(composer(page)).toBeVisible();
  if (!isMobile) await expect(groupRow(page, 'Ben')).toBeVisible();
});

test('older messages that cannot be loaded can be tried again', async ({ open }) => {
  await times(60, () => send('ben', 'ana', unique('Another')));
  const uuid = await send('ben', 'ana', unique('Hello'));
  await readAll('ana', uuid);
  const page = await open('ana', '');
  let isDown = true;
  await page.route('**/graphql', (route) =>
    isDown && isRequest(route, OLDER) ? route.abort('connectionrefused') : route.fallback(),
  );
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await expect(page.getByText('Older messages could not be loaded.')).toBeVisible();
  isDown = false;
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByText('Older messages could not be loaded.')).toHaveCount(0);
});

test('a connection that has died silently is replaced', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', '');
  await page.clock.install();
  let feeds = 0;
  await page.route('**/graphql', (route) => {
    if (!isRequest(route, 'subscription Feed')) return route.fallback();
    feeds += 1;
    // Never answered, as after a sleep of the computer.
    return feeds === 1 ? undefined : route.fallback();
  });
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await composer(page).waitFor();
  await expect.poll(() => feeds).toBe(1);
  await page.clock.runFor(60_000);
  await expect.poll(() => feeds).toBeGreaterThan(1);
  await page.clock.runFor(2_000);
  await expect(pill(page)).toHaveCount(0);
});

test('a page that was hidden does not trust its connection', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', '');
  await page.clock.install();
  let feeds = 0;
  await page.route('**/graphql', (route) => {
    if (isRequest(route, 'subscription Feed')) feeds += 1;
    return route.fallback();
  });
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await composer(page).waitFor();
  const live = unique('Live');
  await send('ben', 'ana', live);
  await expect(bubble(page, live)).toBeVisible();
  const before = feeds;
  await setHidden(page, true);
  await page.clock.runFor(5_000);
  await setHidden(page, false);
  await setHidden(page, true);
  expect(feeds).toBe(before);
  await page.clock.runFor(11_000);
  await setHidden(page, false);
  await expect.poll(() => feeds).toBeGreaterThan(before);
  const text = unique('After the pause');
  await send('ben', 'ana', text);
  await expect(bubble(page, text)).toBeVisible();
});

test('a file of the client that cannot be loaded makes the page reload once', async ({ open }) => {
  const page = await open('ana', '');
  let failures = 1;
  await page.route('**/assets/mount-*.js', (route) => (failures-- > 0 ? route.abort() : route.fallback()));
  await page.goto(`${baseUrl()}/messages`);
  await expect(page.getByRole('heading', { name: 'Messages', exact: true })).toBeVisible();
  failures = Infinity;
  await page.goto(`${baseUrl()}/messages`);
  await expect(page.getByText('The server cannot be reached.')).toBeVisible();
});

test('messages to one conversation keep their order while the server is slow', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  let delay = 600;
  await page.route('**/graphql', async (route) => {
    if (isRequest(route, 'mutation CreateMessage')) {
      const wait = delay;
      delay = 0;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
    await route.continue();
  });
  const texts = [unique('One'), unique('Two'), unique('Three')];
  for (const text of texts) {
    await write(page, text);
  }
  for (const text of texts) await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  const bodies = await messages(page).locator('.body').allTextContents();
  expect(bodies.slice(-3)).toEqual(texts);
});
