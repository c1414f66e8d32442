// Access to localStorage. A browser can deny it or have no space left; then values live only as long as the page.

const PREFIX = 'cruddur';

export function keyFor(userId: string, ...parts: string[]): string {
  return [PREFIX, userId, ...parts].join(':');
}

export function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function write(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Nothing to do: the caller keeps the value in memory.
  }
}

/** Returns the names of all entries that start with `prefix`. */
export function keysWith(prefix: string): string[] {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
  } catch {
    return [];
  }
}

/** Deletes everything that is stored for a user. */
export function forgetUser(userId: string): void {
  for (const key of keysWith(keyFor(userId, ''))) write(key, null);
}
