import { PersonFragmentDoc } from '../generated/graphql';
import { unmask, type FragmentType } from '../generated';
import { plain } from '../richText';

type PersonRef = FragmentType<typeof PersonFragmentDoc>;

const HUES = 8;

/** Initials on a colour that depends on the user. */
export function Avatar({ user, size = 'medium' }: { user: PersonRef; size?: 'small' | 'medium' | 'large' }) {
  const { uuid, displayName } = unmask(PersonFragmentDoc, user);
  return (
    // CSS shows the initials, because text would have to be a part of the accessible name.
    <span
      className={`avatar avatar-${size} hue-${hueOf(uuid)}`}
      data-initials={initialsOf(plain(displayName))}
      aria-hidden="true"
    />
  );
}

/** The name of a user. It is isolated, so that a right-to-left name does not reorder the text around it. */
export function Name({ user }: { user: PersonRef }) {
  return <bdi>{nameOf(user)}</bdi>;
}

export function Handle({ user }: { user: PersonRef }) {
  return <bdi className="handle">@{plain(unmask(PersonFragmentDoc, user).handle)}</bdi>;
}

export function nameOf(user: PersonRef): string {
  const { displayName, handle } = unmask(PersonFragmentDoc, user);
  return plain(displayName).trim() || plain(handle);
}

function hueOf(uuid: string): number {
  let sum = 0;
  for (const character of uuid) sum = (sum * 31 + character.charCodeAt(0)) % 65_521;
  return sum % HUES;
}

function initialsOf(name: string): string {
  const words = name.trim().split(' ').filter(Boolean);
  const ends = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return ends.map((word) => Array.from(word ?? '')[0]?.toUpperCase() ?? '').join('');
}
