import type { Page } from '@playwright/test';

export const HANDLES = ['ana', 'ben', 'chloe', 'dmitri', 'esi'] as const;
export type Handle = (typeof HANDLES)[number];

export interface Account {
  token: string;
  /** The content of sessionStorage, with which a page is signed in. */
  storage: Record<string, string>;
}

/** Opens the client and signs in as a person would. */
export async function signIn(page: Page, baseUrl: string, handle: string, path = '/'): Promise<Account> {
  await page.goto(baseUrl + path);
  await chooseUser(page, handle);
  await page.getByRole('navigation', { name: 'Conversations' }).or(page.locator('.pane')).first().waitFor();
  const storage = await page.evaluate((): Record<string, string> => Object.fromEntries(Object.entries(sessionStorage)));
  const user = Object.entries(storage).find(([key]) => key.startsWith('oidc.user:'))?.[1] ?? '{}';
  const { access_token: token } = JSON.parse(user) as { access_token: string };
  return { token, storage };
}

/** On the sign-in page of `dev`. */
export async function chooseUser(page: Page, handle: string): Promise<void> {
  await page.waitForURL(/\/oauth2\/authorize/);
  const name = new RegExp(`\\b${handle}\\b`, 'i');
  await page.getByRole('button', { name }).or(page.getByRole('link', { name })).first().click();
  await page.waitForURL(/\/messages/);
}
