import {
  baseUrl,
  bubble,
  composer,
  expect,
  expectNoViolations,
  groupRow,
  isRequest,
  messages,
  noGroups,
  pill,
  readAll,
  rejectRequests,
  send,
  test,
  unique,
  write,
} from './fixtures';

test('9: everything works by keyboard', async ({ open, isMobile }) => {
  test.skip(isMobile, 'there is no keyboard');
  const uuid = await send('ben', 'ana', unique('Newest'));
  await readAll('ana', uuid);
  const page = await open('ana', '/messages');
  await groupRow(page, 'Ben').waitFor();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to the conversation' })).toBeFocused();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'New message' })).toBeFocused();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  const rows = page.locator('a.group');
  await expect(rows.first()).toBeFocused();
  await page.keyboard.press('ArrowDown');
  await expect(rows.nth(1)).toBeFocused();
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Enter');
  await expect(composer(page)).toBeFocused();
  const first = page.url();

  await page.keyboard.press('Alt+ArrowDown');
  await expect(page).not.toHaveURL(first);
  await expect(composer(page)).toBeFocused();
  await page.keyboard.press('Alt+ArrowUp');
  await expect(page).toHaveURL(first);
  await expect(composer(page)).toBeFocused();
  const text = unique('By keyboard');
  await page.keyboard.type(text);
  await page.keyboard.press('Enter');
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  await expect(composer(page)).toBeFocused();

  await page.keyboard.press('Shift+Tab');
  await expect(messages(page)).toBeFocused();
  await page.keyboard.press('Home');
  await expect(page.getByRole('button', { name: /^Jump to newest/ })).toBeVisible();
  await page.keyboard.press('Alt+End');
  await expect(bubble(page, text)).toBeInViewport();

  await page.keyboard.press('Tab');
  await expect(composer(page)).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(rows.first()).toBeFocused();
  await page.keyboard.press('?');
  const dialog = page.getByRole('dialog', { name: 'Keyboard shortcuts' });
  await expect(dialog).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(dialog).toHaveCount(0);
  await expect(rows.first()).toBeFocused();
  await page.keyboard.press('Alt+n');
  await expect(page.getByRole('textbox', { name: 'Handle' })).toBeFocused();
  await page.keyboard.type('nobody.has.this');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Nobody has the handle @nobody.has.this' })).toBeVisible();
});

test('9: the list of the shortcuts begins with its heading on a low screen', async ({ open, isMobile }) => {
  test.skip(isMobile, 'there is no keyboard');
  const page = await open('ana', '/messages');
  await page.setViewportSize({ width: 640, height: 400 });
  await page.getByRole('heading', { name: 'Messages', exact: true }).waitFor();
  await page.keyboard.press('Control+/');
  await expect(page.getByRole('button', { name: 'Close' })).toBeFocused();
  await expect(page.getByRole('heading', { name: 'Keyboard shortcuts' })).toBeInViewport();
});

test('9: on macOS, Option writes letters in a field, and is a shortcut elsewhere', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const userAgent = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/26.0 Safari/605.1.15';
  const page = await open('ana', `/messages/${uuid}`, { userAgent });
  await composer(page).fill('ma');
  for (const key of ['Alt+n', 'Alt+ArrowDown']) {
    await page.keyboard.press(key);
    await expect(page).toHaveURL(`${baseUrl()}/messages/${uuid}`);
    await expect(composer(page)).toBeFocused();
  }
  await composer(page).fill('');
  await messages(page).focus();
  await page.keyboard.press('Alt+n');
  await expect(page).toHaveURL(`${baseUrl()}/messages/new`);
});

test('a page that the browser has translated keeps working', async ({ open, isMobile }) => {
  test.skip(isMobile, 'the list is not beside a conversation');
  const uuid = await send('ana', 'ben', unique('Mine'));
  const page = await open('ana', `/messages/${uuid}`);
  await expect(groupRow(page, 'Ben')).toContainText('You:');
  // As Chrome does it.
  await page.evaluate(() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const nodes: Node[] = [];
    while (walker.nextNode()) nodes.push(walker.currentNode);
    for (const node of nodes) {
      const translated = document.createElement('span');
      translated.textContent = `${node.textContent}*`;
      node.parentNode?.replaceChild(translated, node);
    }
  });
  const text = unique('Theirs');
  await send('ben', 'ana', text);
  await expect(bubble(page, text)).toBeVisible();
  await expect(groupRow(page, 'Ben')).not.toContainText('You:');
});

test('the keyboard of iOS, which resizes only the visual viewport, covers nothing', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  const full = page.viewportSize()?.height ?? 0;
  const setVisible = (height: number) =>
    page.evaluate((height) => {
      Object.defineProperty(visualViewport, 'height', { value: height, configurable: true });
      visualViewport?.dispatchEvent(new Event('resize'));
    }, height);
  const height = async () => (await page.locator('.app').boundingBox())?.height;
  await setVisible(full - 300);
  await expect.poll(height).toBe(full - 300);
  await expect(composer(page)).toBeInViewport();
  await setVisible(full);
  await expect.poll(height).toBe(full);
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`10: axe finds no violation on any page, ${colorScheme}`, async ({ open, browser, contextOptions }) => {
    await send('chloe', 'ana', unique('Unread'));
    await send('ana', 'ben', 'Look at https://example.com/a?b=c please');
    const uuid = await send('ben', 'ana', unique('Hello'));
    const page = await open('ana', '/messages', { colorScheme });
    await groupRow(page, 'Ben').waitFor();
    await expect(pill(page)).toHaveCount(0);
    await expectNoViolations(page, 'list');
    await page.getByRole('button', { name: /^Account of/ }).click();
    await expectNoViolations(page, 'account menu');
    await page.getByRole('button', { name: 'Keyboard shortcuts' }).click();
    await expectNoViolations(page, 'help');
    await page.keyboard.press('Escape');
    await groupRow(page, 'Ben').click();
    await composer(page).waitFor();
    await expectNoViolations(page, 'conversation');
    await composer(page).fill('a'.repeat(1_030));
    await expectNoViolations(page, 'message that is too long');
    await composer(page).fill('');
    await page.route('**/graphql', (route) =>
      isRequest(route, 'mutation CreateMessage')
        ? route.fulfill({
            json: { errors: [{ message: 'no', extensions: { code: 'BAD_USER_INPUT', reason: 'other' } }] },
          })
        : route.fallback(),
    );
    await write(page, 'Rejected');
    await expect(bubble(page, 'Rejected')).toHaveAttribute('data-state', 'failed');
    await expectNoViolations(page, 'failed message');
    await bubble(page, 'Rejected').getByRole('button', { name: 'Delete' }).click();
    for (const path of [
      '/messages/new',
      '/messages/new/esi',
      '/messages/new/ana',
      '/messages/new/nobody',
      `/messages/${uuid.replace(/^.{8}/, '00000000')}`,
      '/messages/a/b',
    ]) {
      await page.goto(baseUrl() + path);
      await page.locator('.pane h2, .pane .start, .pane .notice-lead').first().waitFor();
      await expectNoViolations(page, path);
    }
    const unregistered = await open('ana', '', { colorScheme });
    await rejectRequests(unregistered, 'handle_taken');
    await unregistered.goto(`${baseUrl()}/messages`);
    await unregistered.getByRole('heading', { name: 'Your user name is taken here' }).waitFor();
    await expectNoViolations(unregistered, 'user name is taken');
    const anonymous = await browser.newPage({ ...contextOptions, colorScheme });
    await anonymous.goto(`${baseUrl()}/signed-out`);
    await anonymous.getByRole('heading', { name: 'You are signed out' }).waitFor();
    await expectNoViolations(anonymous, 'signed out');
    await anonymous.context().close();
  });
}

test('12: dark mode, reduced motion, and 200 % zoom', async ({ open, isMobile }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`, { colorScheme: 'dark', reducedMotion: 'reduce' });
  await composer(page).waitFor();
  const luminance = await page.evaluate(() => {
    const [red = 0, green = 0, blue = 0] = (
      /\d+, \d+, \d+/.exec(getComputedStyle(document.body).backgroundColor)?.[0] ?? ''
    )
      .split(', ')
      .map(Number);
    return (red + green + blue) / 3;
  });
  expect(luminance).toBeLessThan(60);
  const durations = await page.evaluate(() =>
    document.getAnimations().map((animation) => animation.effect?.getTiming().duration),
  );
  expect(durations.every((duration) => Number(duration) <= 1)).toBe(true);

  // At 200 %, the page has half as many CSS pixels.
  await page.setViewportSize(isMobile ? { width: 320, height: 400 } : { width: 640, height: 400 });
  await expect(composer(page)).toBeInViewport();
  const overflow = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  expect(overflow).toBe(0);
});

test('14: only links to web pages, and everything else is text', async ({ open }) => {
  const mark = crypto.randomUUID().slice(0, 8);
  const body = [
    `${mark} https://example.com/path?a=1&b=2.`,
    'javascript:alert(1) data:text/html,x ftp://example.com mailto:a@example.com',
    '<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 1"> <b>bold</b>',
    'safe \u202Egnp.exe and \u2066isolated\u2069',
    'שלום עולם and مرحبا',
  ].join('\n');
  const uuid = await send('ben', 'ana', body);
  const page = await open('ana', `/messages/${uuid}`);
  const message = bubble(page, mark);
  await expect(message).toBeVisible();
  const links = message.getByRole('link');
  await expect(links).toHaveCount(1);
  await expect(links).toHaveAttribute('href', 'https://example.com/path?a=1&b=2');
  await expect(links).toHaveAttribute('rel', 'noopener noreferrer');
  await expect(links).toHaveAttribute('target', '_blank');
  await expect(message.locator('script, img, b')).toHaveCount(0);
  await expect(message.locator('.body')).toContainText('<script>window.hacked = 1</script>');
  const text = (await message.locator('.body').textContent()) ?? '';
  expect(text).not.toMatch(/[\u202A-\u202E\u2066-\u2069]/);
  expect(text).toContain('U+202E');
  expect(await page.evaluate(() => 'hacked' in window)).toBe(false);
});

test('14: long words and right-to-left text stay in their bubble', async ({ open }) => {
  const mark = crypto.randomUUID().slice(0, 8);
  const uuid = await send('ben', 'ana', `${mark}${'W'.repeat(1_000)}`);
  await send('ben', 'ana', `${mark} ${'שלום '.repeat(60)}`);
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  const overflow = () => messages(page).evaluate(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth);
  await expect(bubble(page, `${mark}W`)).toBeVisible();
  expect(await overflow()).toBe(0);
  await messages(page).evaluate((element) => (element.scrollTop = element.scrollHeight));
  await expect(bubble(page, `${mark} ש`)).toBeVisible();
  expect(await overflow()).toBe(0);
});

test('15: at 390 px there is one pane, and Back works', async ({ open, isMobile }) => {
  test.skip(!isMobile, 'the desktop shows both panes');
  await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', '/messages');
  await groupRow(page, 'Ben').click();
  await expect(composer(page)).toBeVisible();
  await expect(page.getByRole('navigation', { name: 'Conversations' })).toBeHidden();
  await page.goBack();
  await expect(groupRow(page, 'Ben')).toBeVisible();
  await expect(composer(page)).toHaveCount(0);
  await page.goForward();
  await page.getByRole('link', { name: 'Back to the list' }).click();
  await expect(groupRow(page, 'Ben')).toBeVisible();
  const height = await page.locator('.app').evaluate((element) => element.getBoundingClientRect().height);
  expect(height).toBe(page.viewportSize()?.height);
});

test('15: states: nothing open, no conversations, loading, no such handle, oneself, missing', async ({
  open,
  isMobile,
}) => {
  const page = await open('ana', '/messages');
  if (!isMobile) await expect(page.getByRole('heading', { name: 'Select a conversation' })).toBeVisible();
  await page.goto(`${baseUrl()}/messages/new/nobody`);
  await expect(page.getByRole('heading', { name: 'Nobody has the handle @nobody' })).toBeVisible();
  await page.goto(`${baseUrl()}/messages/new/ana`);
  await expect(page.getByRole('heading', { name: 'This is you' })).toBeVisible();
  for (const uuid of ['00000000-0000-0000-0000-000000000000', 'not-a-uuid']) {
    await page.goto(`${baseUrl()}/messages/${uuid}`);
    await expect(page.getByRole('heading', { name: 'Conversation not found' })).toBeVisible();
  }
  // Dmitri and Ben talk, and Ana is not a participant.
  const other = await send('dmitri', 'ben', unique('Private'));
  await page.goto(`${baseUrl()}/messages/${other}`);
  await expect(page.getByRole('heading', { name: 'Conversation not found' })).toBeVisible();
  await page.goto(`${baseUrl()}/messages/a/b/c`);
  await expect(page.getByRole('heading', { name: 'Page not found' })).toBeVisible();

  const empty = await open('ana', '');
  await empty.route('**/graphql', (route) =>
    isRequest(route, 'query Groups') ? route.fulfill({ json: { data: noGroups } }) : route.fallback(),
  );
  await empty.goto(`${baseUrl()}/messages`);
  await expect(empty.getByRole('heading', { name: 'No conversations yet' })).toBeVisible();

  const slow = await open('ana', '');
  await slow.route('**/graphql', (route) => (isRequest(route, 'query Groups') ? undefined : route.fallback()));
  await slow.goto(`${baseUrl()}/messages`);
  await expect(slow.getByRole('status', { name: 'Loading conversations' })).toBeVisible();
});

test('a first message to a handle opens its conversation without a reload', async ({ open, isMobile }) => {
  // A pair for each size, because a conversation has only one first message.
  const [from, to, name] = isMobile ? (['chloe', 'dmitri', /Дмитрий/] as const) : (['chloe', 'esi', /Esi/] as const);
  const page = await open(from, '/messages/new');
  await page.getByRole('textbox', { name: 'Handle' }).fill(`@${to}`);
  await page.getByRole('button', { name: 'Continue' }).click();
  await expect(page).toHaveURL(`${baseUrl()}/messages/new/${to}`);
  await page.evaluate(() => Object.assign(window, { sameDocument: true }));
  const text = unique('The first message');
  await write(page, text);
  await expect(page).toHaveURL(/\/messages\/[0-9a-f-]{36}$/);
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  expect(await page.evaluate(() => 'sameDocument' in window)).toBe(true);
  if (!isMobile) await expect(page.locator('a.group[aria-current]')).toHaveText(name);
  // The address of the handle leads to the conversation from now on.
  await page.goto(`${baseUrl()}/messages/new/${to}`);
  await expect(page).toHaveURL(/\/messages\/[0-9a-f-]{36}$/);
});

test('what was written to a handle continues in its conversation', async ({ open }) => {
  const page = await open('chloe', '');
  // As if there were no conversation yet.
  await page.route('**/graphql', (route) =>
    isRequest(route, 'query Groups') ? route.fulfill({ json: { data: noGroups } }) : route.fallback(),
  );
  await page.goto(`${baseUrl()}/messages/new/ben`);
  await composer(page).waitFor();
  await expect(pill(page)).toHaveCount(0);
  const draft = unique('Not sent yet');
  await composer(page).fill(draft);
  await send('ben', 'chloe', unique('Ben is faster'));
  await expect(page).toHaveURL(/\/messages\/[0-9a-f-]{36}$/);
  await expect(composer(page)).toHaveValue(draft);
});

test('messages that follow the first one at once are in the conversation that it creates', async ({ open }) => {
  const page = await open('chloe', '');
  let requests = 0;
  await page.route('**/graphql', (route) => {
    if (isRequest(route, 'query Groups')) return route.fulfill({ json: { data: noGroups } });
    if (!isRequest(route, 'mutation CreateMessage')) return route.fallback();
    requests += 1;
    // The server rejects the second one for good.
    const extensions = { code: 'BAD_USER_INPUT', reason: 'recipient_changed' };
    return requests === 2
      ? route.fulfill({ json: { errors: [{ message: 'rejected', extensions }] } })
      : new Promise((resolve) => setTimeout(resolve, 300)).then(() => route.fallback());
  });
  await page.goto(`${baseUrl()}/messages/new/ben`);
  await composer(page).waitFor();
  const [first, second] = [unique('First'), unique('Second')];
  await write(page, first);
  await write(page, second);
  await expect(page).toHaveURL(/\/messages\/[0-9a-f-]{36}$/);
  await expect(bubble(page, first)).toHaveAttribute('data-state', 'sent');
  await expect(bubble(page, second)).toHaveAttribute('data-state', 'failed');
  await expect(bubble(page, second).getByText('this handle now belongs to somebody else')).toBeVisible();
});

test('two tabs of a user share the draft of a conversation', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  const other = await page.context().newPage();
  await other.goto(`${baseUrl()}/messages/${uuid}`);
  const text = unique('Written once');
  await composer(page).fill(text);
  await expect(composer(other)).toHaveValue(text);
  await composer(page).press('Enter');
  await expect(composer(other)).toHaveValue('');
});

test('GraphiQL runs a subscription until it is stopped, without another host', async ({ page }) => {
  const hosts = new Set<string>();
  page.on('request', (request) => hosts.add(new URL(request.url()).host));
  await page.goto(`${baseUrl()}/graphiql`);
  await page.getByRole('button', { name: /^Execute query/ }).click();
  const stopped = page.waitForEvent('requestfailed', (request) => request.postData()?.includes('NewMessages') ?? false);
  await page.getByRole('menuitem', { name: 'NewMessages' }).click();
  const result = page.getByRole('region', { name: 'Result Window' });
  await expect(result).toContainText('cursor');
  const text = unique('To GraphiQL');
  await send('ben', 'ana', text);
  await expect(result).toContainText(text);
  await page.getByRole('button', { name: /^Stop query/ }).click();
  await stopped;
  await expect(result).toContainText(text);
  expect([...hosts]).toEqual([new URL(baseUrl()).host]);
});

test('nothing is requested from another host, and no policy is violated', async ({ open }) => {
  const uuid = await send('ben', 'ana', 'https://example.com/ 😀');
  const page = await open('ana', '');
  const hosts = new Set<string>();
  page.on('request', (request) => hosts.add(new URL(request.url()).host));
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await composer(page).waitFor();
  await page.goto(`${baseUrl()}/messages/new`);
  await page.getByRole('textbox', { name: 'Handle' }).waitFor();
  expect([...hosts]).toEqual([new URL(baseUrl()).host]);
  const response = await page.request.get(`${baseUrl()}/messages`);
  const policy = response.headers()['content-security-policy'] ?? '';
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toContain('unsafe');
});
