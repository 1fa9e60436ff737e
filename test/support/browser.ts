import { existsSync } from 'node:fs';

import { type Browser, chromium } from 'playwright-core';

const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The distribution's Chromium; undefined where there is none. */
export const chromiumPath = places.find((place) => existsSync(place));

/** Why a test that needs a browser is skipped. */
export const browserMissing =
  chromiumPath === undefined ? 'no Chromium is installed here; apt-get install chromium' : undefined;

/** A headless browser that asks nothing of its own accord. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    ...(chromiumPath === undefined ? {} : { executablePath: chromiumPath }),
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-dev-shm-usage'],
  });
}
