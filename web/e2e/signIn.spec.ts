import {
  baseUrl,
  bubble,
  composer,
  expect,
  expectNoViolations,
  isRequest,
  messages,
  readAll,
  rejectRequests,
  send,
  test,
  unique,
  write,
  type Page,
} from './fixtures';
import { chooseUser, signIn } from './signIn';

const storedUser = (content: string) =>
  Object.entries(JSON.parse(content) as Record<string, string>).find(([key]) => key.startsWith('oidc.user:'));

const changeStoredUser = (page: Page, changes: object) =>
  page.evaluate((changes) => {
    for (const [key, value] of Object.entries(sessionStorage)) {
      if (!key.startsWith('oidc.user:')) continue;
      sessionStorage.setItem(key, JSON.stringify({ ...(JSON.parse(String(value)) as object), ...changes }));
    }
  }, changes);

test('one click signs in, and leads to where the user wanted to go', async ({ page }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await readAll('ana', uuid);
  await page.goto(`${baseUrl()}/messages/${uuid}`);
  await chooseUser(page, 'ana');
  await expect(page).toHaveURL(`${baseUrl()}/messages/${uuid}`);
  await expect(composer(page)).toBeVisible();
});

test('the address / opens the list', async ({ page }) => {
  await signIn(page, baseUrl(), 'ana');
  await expect(page).toHaveURL(`${baseUrl()}/messages`);
  await expect(page.getByRole('heading', { name: 'Messages', exact: true })).toBeVisible();
  await page.reload();
  await expect(page.getByRole('heading', { name: 'Messages', exact: true })).toBeVisible();
});

test('signing out ends the session, and forgets drafts', async ({ page }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await signIn(page, baseUrl(), 'ana', `/messages/${uuid}`);
  await composer(page).fill('A draft');
  await page.goto(`${baseUrl()}/messages`);
  await page.getByRole('button', { name: 'Account of Ana Ferreira' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  // The page says so before and after it goes to the user pool.
  await page.waitForURL(`${baseUrl()}/signed-out`);
  await expect(page.getByRole('heading', { name: 'You are signed out' })).toBeVisible();
  expect(await page.evaluate(() => localStorage.length)).toBe(0);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await chooseUser(page, 'ben');
  await expect(page.getByRole('button', { name: 'Account of Ben Okafor' })).toBeVisible();
});

test('a page whose user has signed out shows no conversations, also if the browser shows it again', async ({
  page,
}) => {
  await signIn(page, baseUrl(), 'ana');
  await page.locator('a.group').first().waitFor();
  // Without content, the browser stays on this page.
  await page.route(/logout/, (route) => route.fulfill({ status: 204 }));
  await page.getByRole('button', { name: 'Account of Ana Ferreira' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.locator('a.group')).toHaveCount(0);
});

test('signing out in one tab ends the session of the other tabs', async ({ page, context }) => {
  const other = await context.newPage();
  for (const tab of [page, other]) {
    await signIn(tab, baseUrl(), 'ana');
    await tab.locator('a.group').first().waitFor();
  }
  await page.getByRole('button', { name: 'Account of Ana Ferreira' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(other.getByRole('heading', { name: 'You are signed out' })).toBeVisible();
  await other.reload();
  await expect(other.locator('a.group')).toHaveCount(0);
});

test('signing out deletes an unsent message for good', async ({ page }) => {
  await page.clock.install();
  const uuid = await send('ben', 'ana', unique('Hello'));
  await signIn(page, baseUrl(), 'ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  let requests = 0;
  await page.route('**/graphql', (route) => {
    if (!isRequest(route, 'mutation CreateMessage')) return route.fallback();
    requests += 1;
    return route.fulfill({ status: 503, json: { errors: [{ message: 'x', extensions: { code: 'UNAVAILABLE' } }] } });
  });
  const text = unique('Not confirmed');
  await write(page, text);
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'unknown');
  // The user pool does not respond, so the page stays for a while.
  let goOn: () => void = () => undefined;
  const isSlow = new Promise<void>((resolve) => (goOn = resolve));
  await page.route(/revoke/, (route) => isSlow.then(() => route.fallback()));
  page.on('dialog', (dialog) => void dialog.accept());
  await page.goto(`${baseUrl()}/messages`);
  await page.getByRole('button', { name: 'Account of Ana Ferreira' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('status')).toHaveText('Signing out');
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  const before = requests;
  // Longer than the outbox waits before it tries again, shorter than the time limit of the user pool.
  await page.clock.runFor(10_000);
  expect(requests).toBe(before);
  expect(await page.evaluate(() => localStorage.length)).toBe(0);
  goOn();
  await page.waitForURL(`${baseUrl()}/signed-out`);
});

test('a browser that stores nothing for the site is told so', async ({ page }) => {
  await page.addInitScript(() => {
    const deny = () => {
      throw new DOMException('denied', 'SecurityError');
    };
    for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name, { get: deny });
    // As in Firefox.
    window.BroadcastChannel = new Proxy(BroadcastChannel, { construct: deny });
  });
  await page.goto(`${baseUrl()}/messages`);
  await expect(page.getByRole('heading', { name: 'Your browser stores nothing for this site' })).toBeVisible();
  await expectNoViolations(page, 'storage is blocked');
});

test('an expired token is renewed without a trace', async ({ page }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await signIn(page, baseUrl(), 'ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  // The refresh token is still there after the first time.
  for (const text of [unique('With a new token'), unique('With another one')]) {
    await changeStoredUser(page, { expires_at: 1, access_token: 'expired' });
    await write(page, text);
    await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  }
});

test('a token that the server rejects is replaced, and the message is sent once', async ({ page }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await signIn(page, baseUrl(), 'ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  const before = storedUser(
    JSON.stringify(await page.evaluate(() => Object.fromEntries(Object.entries(sessionStorage)))),
  );
  let rejected = 0;
  await page.route('**/graphql', (route) => {
    if (!isRequest(route, 'mutation CreateMessage') || rejected > 0) return route.fallback();
    rejected += 1;
    return route.fulfill({
      status: 401,
      json: { errors: [{ message: 'expired', extensions: { code: 'UNAUTHENTICATED', reason: 'token_expired' } }] },
    });
  });
  const text = unique('Renewed');
  await write(page, text);
  await expect(bubble(page, text)).toHaveAttribute('data-state', 'sent');
  await expect(messages(page).getByText(text)).toHaveCount(1);
  expect(rejected).toBe(1);
  const after = storedUser(
    JSON.stringify(await page.evaluate(() => Object.fromEntries(Object.entries(sessionStorage)))),
  );
  expect(after?.[1]).not.toBe(before?.[1]);
});

test('a revoked session leads to sign-in and loses no draft', async ({ page }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await signIn(page, baseUrl(), 'ana', `/messages/${uuid}`);
  await composer(page).fill('Half a sentence');
  // In one step, because any other request of the page also ends the session.
  await composer(page).evaluate((field) => {
    for (const [key, value] of Object.entries(sessionStorage)) {
      if (!key.startsWith('oidc.user:')) continue;
      const user = JSON.parse(String(value)) as object;
      sessionStorage.setItem(key, JSON.stringify({ ...user, expires_at: 1, refresh_token: 'revoked' }));
    }
    field.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
  });
  await expect(page.getByRole('heading', { name: 'Your session has ended' })).toBeVisible();
  await page.getByRole('button', { name: 'Sign in again' }).click();
  await chooseUser(page, 'ana');
  await expect(page).toHaveURL(`${baseUrl()}/messages/${uuid}`);
  // It was sent just before the session ended, so the outbox sends it now.
  await expect(bubble(page, 'Half a sentence')).toHaveAttribute('data-state', 'sent');
});

test('a user pool that does not renew a session leaves a way to sign in again', async ({ page }) => {
  await signIn(page, baseUrl(), 'ana');
  await page.getByRole('heading', { name: 'Messages', exact: true }).waitFor();
  await page.route('**/oauth2/token', (route) => route.abort());
  await changeStoredUser(page, { expires_at: 1 });
  await page.reload();
  await expect(page.getByRole('heading', { name: 'The server cannot be reached' })).toBeVisible();
  await page.getByRole('button', { name: 'Sign in again' }).click();
  await page.waitForURL(/\/oauth2\/authorize/);
  await page.unroute('**/oauth2/token');
  await chooseUser(page, 'ana');
  await expect(page.getByRole('heading', { name: 'Messages', exact: true })).toBeVisible();
});

test('a draft survives a revoked session', async ({ page }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await signIn(page, baseUrl(), 'ana', `/messages/${uuid}`);
  await composer(page).fill('Half a sentence');
  await page.evaluate(() => sessionStorage.clear());
  await page.reload();
  await chooseUser(page, 'ana');
  await expect(composer(page)).toHaveValue('Half a sentence');
  await composer(page).fill('');
});

test('a sign-in that was not completed says so', async ({ page }) => {
  await page.goto(`${baseUrl()}/callback?error=access_denied&state=unknown`);
  await expect(page.getByRole('heading', { name: 'You are not signed in' })).toBeVisible();
  await page.getByRole('button', { name: 'Sign in again' }).click();
  await chooseUser(page, 'ana');
  await expect(page).toHaveURL(`${baseUrl()}/messages`);
});

for (const [reason, title] of [
  ['handle_taken', 'Your user name is taken here'],
  ['handle_missing', 'Your account has no user name'],
] as const) {
  test(`an account that the server rejects with ${reason} leads to a page that says what to do`, async ({ page }) => {
    const visits: string[] = [];
    page.on('request', (request) => {
      const { pathname } = new URL(request.url());
      if (pathname.startsWith('/oauth2/')) visits.push(pathname);
    });
    await rejectRequests(page, reason);
    await page.goto(`${baseUrl()}/messages`);
    await chooseUser(page, 'ana');
    const heading = page.getByRole('heading', { name: title });
    await expect(heading).toBeVisible();
    await expect(page).toHaveURL(`${baseUrl()}/messages`);
    const retry = page.getByRole('button', { name: 'Try again' });
    await expect(retry).toBeFocused();
    await expect(page.getByRole('alert')).toContainText(title);
    await expectNoViolations(page, reason);

    // Another try neither signs in again nor renews the token, and works once the server accepts the account.
    const before = visits.length;
    await Promise.all([page.waitForEvent('load'), retry.click()]);
    await expect(heading).toBeVisible();
    await page.unroute('**/graphql');
    await retry.click();
    await expect(page.getByRole('button', { name: 'Account of Ana Ferreira' })).toBeVisible();
    expect(visits.slice(before)).toEqual([]);
  });
}

test('somebody whose account is rejected can sign in with another one', async ({ page }) => {
  await rejectRequests(page, 'handle_taken');
  await page.goto(`${baseUrl()}/messages`);
  await chooseUser(page, 'ana');
  await page.getByRole('button', { name: 'Use another account' }).click();
  await expect(page.getByRole('heading', { name: 'You are signed out' })).toBeVisible();
  await page.unroute('**/graphql');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await chooseUser(page, 'ben');
  await expect(page.getByRole('button', { name: 'Account of Ben Okafor' })).toBeVisible();
});

test('an account that is rejected in a response with the status 200 leads to a page too', async ({ open }) => {
  const page = await open('ana', '');
  const extensions = { code: 'UNAUTHENTICATED', reason: 'user_unknown' };
  const errors = [{ message: 'unknown', path: ['me'], extensions }];
  await page.route('**/graphql', (route) => route.fulfill({ json: { data: null, errors } }));
  await page.goto(`${baseUrl()}/messages`);
  await expect(page.getByRole('heading', { name: 'Your account is not registered' })).toBeVisible();
});
