import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { start } from './auth';
import { startClock } from './clock';
import { App } from './components/App';
import { ErrorBoundary } from './components/ErrorBoundary';
import './styles.css';
import { LANGUAGE } from './texts';

document.documentElement.lang = LANGUAGE;
startClock();
void start();

const root = document.getElementById('root');
if (!root) throw new Error('the page has no element #root');
createRoot(root).render(
  <StrictMode>
    <ErrorBoundary>
      <App />
    </ErrorBoundary>
  </StrictMode>,
);
