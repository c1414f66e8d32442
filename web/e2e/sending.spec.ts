import {
  api,
  baseUrl,
  bubble,
  composer,
  expect,
  isRequest,
  messages,
  readAll,
  send,
  test,
  times,
  unique,
  write,
} from './fixtures';

async function countOnServer(uuid: string, body: string): Promise<number> {
  const data = await api<{ messages: { nodes: { body: string }[] } }>(
    'ana',
    'query ($uuid: UUID!) { messages(messageGroupUuid: $uuid, last: 100) { nodes { body } } }',
    { uuid },
  );
  return data.messages.nodes.filter((message) => message.body === body).length;
}

test('1: a message shows at once as sending, then as sent', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route('**/graphql', async (route) => {
    if (isRequest(route, 'mutation CreateMessage')) await held;
    await route.continue();
  });
  const text = unique('Held back');
  await write(page, text);
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'sending');
  await expect(composer(page)).toHaveValue('');
  release();
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  await expect(messages(page).getByText(text)).toHaveCount(1);
});

test('1: a message whose response is lost is unknown, and the retry does not send it twice', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  let lost = 0;
  await page.route('**/graphql', async (route) => {
    if (!isRequest(route, 'mutation CreateMessage') || lost > 0) return route.fallback();
    lost += 1;
    await route.fetch();
    await route.abort('connectionreset');
  });
  const text = unique('Lost response');
  await write(page, text);
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  expect(lost).toBe(1);
  await expect(messages(page).getByText(text)).toHaveCount(1);
  expect(await countOnServer(uuid, text)).toBe(1);
});

test('1: a message that cannot be delivered is unknown, survives a reload, and is sent later', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  let isDown = true;
  await page.route('**/graphql', (route) =>
    isDown && isRequest(route, 'mutation CreateMessage') ? route.abort('connectionrefused') : route.fallback(),
  );
  const text = unique('Delayed');
  await write(page, text);
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'unknown');
  await expect(page.getByRole('status').filter({ hasText: 'Not confirmed yet' })).toBeVisible();
  await page.reload();
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'unknown');
  // The click comes first, because a retry of the client could succeed and remove the button.
  await page.getByRole('button', { name: 'Try now' }).click();
  isDown = false;
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  expect(await countOnServer(uuid, text)).toBe(1);
});

test('1: a rejected message says why, and can be sent again or deleted', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  let isRejecting = true;
  const extensions = { code: 'BAD_USER_INPUT', reason: 'recipient_changed' };
  await page.route('**/graphql', (route) =>
    isRejecting && isRequest(route, 'mutation CreateMessage')
      ? route.fulfill({ json: { data: null, errors: [{ message: 'rejected', extensions }] } })
      : route.fallback(),
  );
  const [first, second] = [unique('Rejected'), unique('Rejected too')];
  await write(page, first);
  await expect(bubble(page, first)).toHaveAttribute('data-state', 'failed');
  await expect(page.getByText('this handle now belongs to somebody else')).toBeVisible();
  await write(page, second);
  await expect(bubble(page, second)).toHaveAttribute('data-state', 'failed');
  await bubble(page, second).getByRole('button', { name: 'Delete' }).click();
  await expect(messages(page).getByText(second)).toHaveCount(0);
  isRejecting = false;
  await bubble(page, first).getByRole('button', { name: 'Try again' }).click();
  await expect(bubble(page, first)).toHaveAttribute('data-state', 'sent');
});

test('6: drafts are kept for each conversation and survive a reload', async ({ open }) => {
  const [toBen, toChloe] = [await send('ben', 'ana', unique('Hello')), await send('chloe', 'ana', unique('Hello'))];
  const page = await open('ana', `/messages/${toBen}`);
  await composer(page).fill('A draft for Ben\nwith two lines');
  await page.goto(new URL(`/messages/${toChloe}`, page.url()).href);
  await expect(composer(page)).toHaveValue('');
  await composer(page).fill('A draft for Chloé');
  await page.reload();
  await expect(composer(page)).toHaveValue('A draft for Chloé');
  await page.goto(new URL('/messages', page.url()).href);
  await expect(page.locator('a.group', { hasText: 'Draft: A draft for Ben with two lines' })).toBeVisible();
  await page.locator('a.group', { hasText: 'Ben Okafor' }).click();
  await expect(composer(page)).toHaveValue('A draft for Ben\nwith two lines');
  await composer(page).fill('');
});

test('7: in a browser that does not size fields, the field fits its text and the list stays at its end', async ({
  open,
}) => {
  const uuid = await send('ben', 'ana', unique('One of many'));
  await times(19, () => send('ben', 'ana', unique('One of many')));
  await readAll('ana', uuid);
  const page = await open('ana', '');
  await page.addInitScript(() => {
    const supports = CSS.supports.bind(CSS);
    CSS.supports = (...args: [string, string?]) =>
      args[0] !== 'field-sizing' && supports(...(args as [string, string]));
  });
  await page.route('**/*.css', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.text()).replaceAll('field-sizing:content', '') });
  });
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await composer(page).click();
  const fits = () => composer(page).evaluate((field) => field.scrollHeight - field.clientHeight);
  for (let line = 0; line < 8; line += 1) {
    await page.keyboard.type(`Line ${line}`);
    await page.keyboard.press('Shift+Enter');
  }
  await page.keyboard.type('The end');
  expect(await fits()).toBeLessThanOrEqual(0);
  await expect(page.getByRole('button', { name: /^Jump to newest/ })).toHaveCount(0);
  const text = unique('While Ana writes');
  await send('ben', 'ana', text);
  await expect(bubble(page, text)).toBeInViewport();
  await composer(page).fill('Two lines that fit on a wide page,\nbut need some more lines on a page that is narrow');
  const { height } = page.viewportSize() ?? { height: 800 };
  await page.setViewportSize({ width: 340, height });
  await expect.poll(fits).toBeLessThanOrEqual(0);
  await composer(page).fill('');
});

test('7: Enter sends and Shift+Enter breaks the line, but not while a composition is confirmed', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  const text = unique('Line');
  await composer(page).fill(text);
  await composer(page).press('Shift+Enter');
  await composer(page).pressSequentially('second line');
  await expect(composer(page)).toHaveValue(`${text}\nsecond line`);

  const keydown = (init: { isComposing?: boolean; keyCode?: number }) =>
    composer(page).evaluate((field, options) => field.dispatchEvent(new KeyboardEvent('keydown', options)), {
      key: 'Enter',
      bubbles: true,
      cancelable: true,
      ...init,
    });
  // The event is not cancelled, so the browser and the input method handle it.
  expect(await keydown({ isComposing: true })).toBe(true);
  expect(await keydown({ keyCode: 229 })).toBe(true);
  await expect(composer(page)).toHaveValue(`${text}\nsecond line`);
  expect(await keydown({ keyCode: 13 })).toBe(false);
  await expect(composer(page)).toHaveValue('');
  await expect(bubble(page, 'second line')).toHaveAttribute('data-state', 'sent');
});

test('7: the send key of an Android keyboard sends, although the last word is a composition', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const userAgent = 'Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/156.0.0.0 Mobile Safari/537.36';
  const page = await open('ana', `/messages/${uuid}`, { userAgent });
  const text = unique('Typed');
  await composer(page).fill(text);
  await composer(page).evaluate((field) => {
    const init = { key: 'Enter', keyCode: 13, isComposing: true, bubbles: true, cancelable: true };
    field.dispatchEvent(new KeyboardEvent('keydown', init));
  });
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
});

test('8: the counter counts code points, warns near the limit and blocks over it', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  const counter = page.locator('#composer-counter');
  const sendButton = page.getByRole('button', { name: 'Send' });
  await composer(page).fill('a'.repeat(899));
  await expect(counter).toHaveText('');
  await composer(page).fill('a'.repeat(1_004));
  await expect(counter).toHaveAttribute('data-level', 'warn');
  await expect(counter).toContainText('20');

  // A family is one character to the eye, 11 UTF-16 units, and 7 code points.
  const family = '👨‍👩‍👧‍👦';
  const limit = family.repeat(146) + 'ab';
  expect(Array.from(limit)).toHaveLength(1_024);
  await composer(page).fill(`${limit}c`);
  await expect(counter).toHaveAttribute('data-level', 'over');
  await expect(counter).toContainText('−1');
  await expect(sendButton).toBeDisabled();
  await composer(page).press('Enter');
  await expect(composer(page)).toHaveValue(`${limit}c`);
  await composer(page).fill(limit);
  await expect(sendButton).toBeEnabled();
  await composer(page).press('Enter');
  await expect(bubble(page, limit)).toHaveAttribute('data-state', 'sent');
});

test('an empty message cannot be sent', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).fill(' \n\t ');
  await expect(page.getByRole('button', { name: 'Send' })).toBeDisabled();
});

test('two tabs of one user send an unsent message once', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  const page = await open('ana', `/messages/${uuid}`);
  let isDown = true;
  await page
    .context()
    .route('**/graphql', (route) =>
      isDown && isRequest(route, 'mutation CreateMessage') ? route.abort('connectionrefused') : route.fallback(),
    );
  const text = unique('From two tabs');
  await write(page, text);
  const other = await page.context().newPage();
  await other.goto(page.url());
  await expect(bubble(other, text)).toHaveAttribute('data-state', 'unknown');
  isDown = false;
  for (const tab of [page, other]) await tab.evaluate(() => dispatchEvent(new Event('online')));
  for (const tab of [page, other]) {
    await expect(bubble(tab, text)).toHaveAttribute('data-state', 'sent');
    await expect(messages(tab).getByText(text)).toHaveCount(1);
  }
  expect(await countOnServer(uuid, text)).toBe(1);
});
