import { describe, expect, it } from 'vitest';

import { isFewEmoji, plain } from './richText';

describe('isFewEmoji', () => {
  it.each(['😹', '❤️', '👨‍👩‍👧‍👦', '🇵🇹 🇺🇦', '1️⃣', '☝🏽', '🏳️‍🌈', '🏴󠁧󠁢󠁥󠁮󠁧󠁿', '👩🏽‍❤️‍💋‍👨🏿', '🌱 🌱\n🌱'])('accepts %s', (text) => {
    expect(isFewEmoji(text)).toBe(true);
  });

  it.each(['', 'a', '1', '#', '©', '❤', 'ok 👍', '👍 ok', '👍👍👍👍', '🇵'])('does not accept “%s”', (text) => {
    expect(isFewEmoji(text)).toBe(false);
  });
});

describe('plain', () => {
  it('removes characters that change the direction, and puts the text on one line', () => {
    expect(plain('a\u202Eb\n\n c\u2066d')).toBe('ab cd');
  });
});
