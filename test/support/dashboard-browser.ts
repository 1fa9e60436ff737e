import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach } from 'vitest';

import { launchBrowser } from './browser.ts';

/** For a condition that comes when the machine gets to it; the tests' own timeouts bound the whole. */
export const patience = { timeout: 120_000 };

export interface BrowserBench {
  readonly browser: Browser;
  readonly context: BrowserContext;
  readonly page: Page;
  /** Origins that the page has asked. */
  readonly origins: Set<string>;
  /** What went wrong in the page or was written to its console as an error, since the test began. */
  readonly complaints: string[];
}

/** A browser with one page for a test file. Register it after the server that it looks at, so that it ends first. */
export function useBrowser(): BrowserBench {
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  const origins = new Set<string>();
  const complaints: string[] = [];
  beforeAll(async () => {
    browser = await launchBrowser();
    context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    page = await context.newPage();
    page.setDefaultTimeout(patience.timeout);
    page.on('request', (request) => origins.add(new URL(request.url()).origin));
    page.on('pageerror', ({ message }) => complaints.push(message));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  }, 180_000);
  afterAll(() => browser?.close());
  beforeEach(() => {
    complaints.length = 0;
  });
  return {
    get browser() {
      return browser;
    },
    get context() {
      return context;
    },
    get page() {
      return page;
    },
    origins,
    complaints,
  };
}
