// Shows the text of a message. Everything in it is text, except for links to web pages.

import { LinkifyIt } from 'linkify-it';
import type { ReactNode } from 'react';

import { texts } from './texts';

const linkify = new LinkifyIt({ fuzzyEmail: false, fuzzyIP: false });
for (const schema of ['ftp:', '//', 'mailto:']) linkify.add(schema, null);

/** Characters that change the direction of the text after them, and could disguise a link. Marks such as LRM are harmless. */
const BIDI_CONTROLS = /[\u202A-\u202E\u2066-\u2069]/;

/** A character that is shown as an emoji, with a skin tone or, for the flags of regions, a tag. */
const EMOJI_PART = String.raw`(?:(?!\p{RI})\p{Emoji_Presentation}|\p{Extended_Pictographic}\uFE0F|\p{Emoji_Modifier_Base}(?=\p{Emoji_Modifier}))\p{Emoji_Modifier}?[\u{E0020}-\u{E007F}]*`;
/**
 * A flag, a keycap, or characters that are joined into one emoji. `\p{RGI_Emoji}` would be exact, but a browser needs 40 ms to
 * compile it, and four times as long on a slow telephone.
 */
const EMOJI = String.raw`(?:\p{RI}{2}|[\d#*]\uFE0F\u20E3|${EMOJI_PART}(?:\u200D${EMOJI_PART})*)`;
const FEW_EMOJI = new RegExp(String.raw`^(?:${EMOJI}\s*){1,3}$`, 'u');

export function isFewEmoji(text: string): boolean {
  return text.length <= 60 && FEW_EMOJI.test(text);
}

/** Removes `BIDI_CONTROLS` and puts the text on one line, for names and previews. */
export function plain(text: string): string {
  return text.replace(new RegExp(BIDI_CONTROLS, 'g'), '').replace(/\s+/g, ' ');
}

export function RichText({ text }: { text: string }) {
  const parts: ReactNode[] = [];
  let end = 0;
  // The library compiles its expressions at the first use. Most conversations have no link, so they do not need them.
  const links = text.includes('://') ? linkify.match(text) : null;
  for (const { index, lastIndex, url } of links ?? []) {
    if (!/^https?:\/\//i.test(url)) continue;
    parts.push(...withVisibleControls(text.slice(end, index), end));
    parts.push(
      <a key={index} href={url} target="_blank" rel="noopener noreferrer">
        {withVisibleControls(text.slice(index, lastIndex), index)}
      </a>,
    );
    end = lastIndex;
  }
  parts.push(...withVisibleControls(text.slice(end), end));
  return parts;
}

function withVisibleControls(text: string, offset: number): ReactNode[] {
  return text.split(new RegExp(`(${BIDI_CONTROLS.source})`)).map((part, index) => {
    if (!BIDI_CONTROLS.test(part)) return part;
    const code = `U+${part.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0') ?? ''}`;
    return (
      <span key={`${offset}-${index}`} className="control" title={texts.conversation.control(code)}>
        {code}
      </span>
    );
  });
}
