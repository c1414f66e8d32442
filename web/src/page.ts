// What the browser does to the page as a whole.

const RELOADED_KEY = 'cruddur:reloadedAt';
const RELOAD_AGAIN_AFTER_MS = 60_000;
const LEAVING_MS = 10_000;

/** Reloads the page if it is older than the session or than the files on the server. */
export function reloadIfOutdated(): void {
  // A page from the history is as it was when the user left it, for example signed in.
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted) location.reload();
  });
  // A file of the client cannot be loaded: a deployment has replaced it, or the network has failed. Browsers remember the failure
  // until the page is reloaded: https://github.com/whatwg/html/issues/10327
  addEventListener('vite:preloadError', (event) => {
    // Firefox and Safari cancel the requests of a page as soon as it starts to go to another one. A reload would
    // cancel the navigation.
    if (isLeaving) event.preventDefault();
    else if (mayReload()) location.reload();
  });
  addEventListener('beforeunload', leave);
}

let isLeaving = false;

/** Records that the browser starts to go to another page. iOS does not always send `beforeunload`. */
export function leave(): void {
  isLeaving = true;
  // The user can stop the navigation.
  setTimeout(() => (isLeaving = false), LEAVING_MS);
}

/** Records that all files are loaded. With a listener of `beforeunload`, some browsers do not keep the page for Back. */
export function onLoaded(): void {
  removeEventListener('beforeunload', leave);
}

/** Whether this tab has not been reloaded just now. Without storage, it could be reloaded for ever. */
function mayReload(): boolean {
  try {
    if (Date.now() - Number(sessionStorage.getItem(RELOADED_KEY)) < RELOAD_AGAIN_AFTER_MS) return false;
    sessionStorage.setItem(RELOADED_KEY, String(Date.now()));
    return true;
  } catch {
    return false;
  }
}

/** The keyboard is at least this high. The bars of the browser are lower. */
const KEYBOARD_MIN_PX = 100;

/**
 * Keeps the client as high as the part of the screen that the keyboard leaves free. The keyboard of iOS covers a part of the
 * page, and does not resize it.
 */
export function followKeyboard(): void {
  const { visualViewport: viewport } = window;
  if (!viewport) return;
  const follow = () => {
    const { style } = document.documentElement;
    if (viewport.scale === 1 && innerHeight - viewport.height > KEYBOARD_MIN_PX) {
      style.setProperty('--app-height', `${viewport.height}px`);
      scrollTo(0, 0);
    } else {
      style.removeProperty('--app-height');
    }
  };
  viewport.addEventListener('resize', follow);
  viewport.addEventListener('scroll', follow);
}
