import { start } from './auth';
import { startClock } from './clock';
import { followKeyboard, onLoaded, reloadIfOutdated } from './page';
import { followSession } from './services';
import './styles.css';
import { LANGUAGE, texts } from './texts';

document.documentElement.lang = LANGUAGE;
reloadIfOutdated();
followKeyboard();
startClock();
followSession();
void start();
// The components are a chunk of their own, so the first queries are sent before the browser evaluates React.
async function mount(): Promise<void> {
  try {
    await import('./mount');
    onLoaded();
  } catch {
    document.body.textContent = texts.errors.unreachable;
  }
}
void mount();
