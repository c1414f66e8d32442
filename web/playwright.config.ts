import { defineConfig, devices } from '@playwright/test';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

export default defineConfig({
  testDir: 'e2e',
  globalSetup: './e2e/setup.ts',
  outputDir: 'test-results',
  // The tests share one server and its five users.
  workers: 1,
  fullyParallel: false,
  forbidOnly: process.env['CI'] !== undefined,
  timeout: 45_000,
  globalTimeout: 20 * 60_000,
  // On a busy machine, two browsers and a server can miss a deadline. The report says which tests needed a second try.
  retries: 1,
  expect: { timeout: 10_000 },
  reporter: [['list']],
  use: {
    launchOptions: { executablePath, args: ['--no-sandbox'] },
    locale: 'en-GB',
    timezoneId: 'Europe/Lisbon',
    // Without pictures of each moment, which would slow down every test.
    trace: { mode: 'retain-on-failure', screenshots: false },
    actionTimeout: 10_000,
  },
  projects: [
    { name: 'desktop', use: { ...devices['Desktop Chrome'], viewport: { width: 1280, height: 800 } } },
    {
      name: 'mobile',
      // The size of the screen makes no difference to it.
      testIgnore: 'performance.spec.ts',
      use: {
        ...devices['Desktop Chrome'],
        viewport: { width: 390, height: 844 },
        deviceScaleFactor: 2,
        hasTouch: true,
        isMobile: true,
      },
    },
  ],
});
