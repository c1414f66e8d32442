import { baseUrl, composer, expect, messages, readAll, send, test, times, unique } from './fixtures';

/** `MESSAGES=10000` takes two minutes longer. */
const MESSAGES = Number(process.env['MESSAGES'] ?? 3_000);

/** Fills the conversation of Ben and Esi. The keys make sure that another run adds nothing. Returns its uuid. */
async function history(): Promise<string> {
  const sendOne = (index: number) => {
    const [from, to] = index % 3 === 0 ? (['esi', 'ben'] as const) : (['ben', 'esi'] as const);
    const key = `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
    return send(from, to, `History ${index} ${'of a long talk '.repeat(index % 9)}`.trim(), key);
  };
  const uuid = await sendOne(0);
  await times(MESSAGES, sendOne);
  await readAll('esi', uuid);
  await readAll('ben', uuid);
  return uuid;
}

test('a long history scrolls smoothly, and only the visible part is in the document', async ({ open }) => {
  test.setTimeout(300_000);
  const startedAt = Date.now();
  const uuid = await history();
  console.log(`${MESSAGES} messages were sent in ${((Date.now() - startedAt) / 1_000).toFixed(0)} s`);
  const page = await open('esi', `/messages/${uuid}`);
  await composer(page).waitFor();

  // Scrolls to the start of the conversation, through all pages.
  const start = page.getByText('This is the start of your conversation');
  await expect(async () => {
    await messages(page).evaluate((element) => (element.scrollTop = 0));
    await expect(start).toBeVisible({ timeout: 50 });
  }).toPass({ timeout: 120_000, intervals: [10] });

  // Then down again with all of them loaded, a fast flick of a wheel.
  const frames = await messages(page).evaluate(
    (element) =>
      new Promise<number[]>((resolve) => {
        const durations: number[] = [];
        let before = performance.now();
        const step = (now: number) => {
          durations.push(now - before);
          before = now;
          element.scrollTop += 120;
          if (durations.length < 300) requestAnimationFrame(step);
          else resolve(durations.slice(10));
        };
        requestAnimationFrame(step);
      }),
  );
  const sorted = frames.sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const p95 = sorted[Math.floor(sorted.length * 0.95)] ?? 0;
  const rows = await page.locator('.row').count();
  const heap = await page.evaluate(
    () => (performance as unknown as { memory: { usedJSHeapSize: number } }).memory.usedJSHeapSize / 1e6,
  );
  console.log(
    `frames: median ${median.toFixed(1)} ms, 95 % ${p95.toFixed(1)} ms, slowest ${sorted.at(-1)?.toFixed(1) ?? ''} ms; rows ${rows}; heap ${heap.toFixed(0)} MB`,
  );
  // The bounds find a fault of the client, not a busy machine.
  expect(median).toBeLessThan(40);
  expect(rows).toBeLessThan(80);

  // A message that arrives does not block the page.
  const text = unique('Arrives');
  await page.evaluate(() => {
    const tasks: number[] = [];
    Object.assign(window, { tasks });
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
      type: 'longtask',
    });
  });
  await send('ben', 'esi', text);
  await expect(page.getByRole('log')).toContainText(text);
  const longest = Math.max(0, ...(await page.evaluate(() => (window as unknown as { tasks: number[] }).tasks)));
  console.log(`longest task when a message arrives: ${longest.toFixed(0)} ms`);
});

test('the largest contentful paint comes soon on a slow processor', async ({ open }) => {
  const uuid = await send('ben', 'ana', unique('Hello'));
  await readAll('ana', uuid);
  const page = await open('ana', `/messages/${uuid}`);
  await composer(page).waitFor();
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Emulation.setCPUThrottlingRate', { rate: 4 });
  const paints: number[] = [];
  for (let run = 0; run < 5; run += 1) {
    await page.goto(`${baseUrl()}/messages/${uuid}`);
    await composer(page).waitFor();
    await expect(page.locator('.row').first()).toBeVisible();
    paints.push(
      await page.evaluate(
        () =>
          new Promise<number>((resolve) => {
            new PerformanceObserver((list) => resolve(list.getEntries().at(-1)?.startTime ?? Infinity)).observe({
              type: 'largest-contentful-paint',
              buffered: true,
            });
          }),
      ),
    );
  }
  console.log(`largest contentful paint at 4x slowdown: ${paints.map((paint) => paint.toFixed(0)).join(', ')} ms`);
  // Other programs may use the processor, so the fastest run counts.
  expect(Math.min(...paints)).toBeLessThan(5_000);
});
