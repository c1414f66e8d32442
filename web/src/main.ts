import { start } from './auth';
import { startClock } from './clock';
import { followSession } from './services';
import './styles.css';
import { LANGUAGE } from './texts';

document.documentElement.lang = LANGUAGE;
startClock();
followSession();
void start();
// The components are a chunk of their own, so the first queries are sent before the browser evaluates React.
void import('./mount');
