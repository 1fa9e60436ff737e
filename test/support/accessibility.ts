import axe from 'axe-core';
import type { Page } from 'playwright-core';

/** Rules of WCAG 2.2 A and AA that the page breaks, with where. */
export async function brokenRules(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found: { id: string; nodes: string[] }[] = await page.evaluate(async () => {
    const tool = (
      globalThis as unknown as {
        axe: {
          run(
            options: object,
          ): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }>;
        };
      }
    ).axe;
    const { violations } = await tool.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] });
    return violations.map(({ id, nodes }) => ({
      id,
      nodes: nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} (${failureSummary})`),
    }));
  });
  return found.map(({ id, nodes }) => `${id}: ${nodes.join(' | ')}`);
}

export interface Look {
  name: string;
  media: { colorScheme: 'light' | 'dark'; forcedColors: 'none' | 'active' };
  width: number;
}

/** The ways in which every page has to hold. 320 px is a screen of 1280 at 400 % (WCAG 1.4.10). */
export const looks: readonly Look[] = [
  { name: 'light', media: { colorScheme: 'light', forcedColors: 'none' }, width: 1280 },
  { name: 'dark', media: { colorScheme: 'dark', forcedColors: 'none' }, width: 1280 },
  { name: 'forced colours', media: { colorScheme: 'dark', forcedColors: 'active' }, width: 1280 },
  { name: '320 px', media: { colorScheme: 'light', forcedColors: 'none' }, width: 320 },
];

/** What breaks in any look: rules, and a page that scrolls sideways. */
export async function faultsIn(page: Page, height = 900): Promise<string[]> {
  const faults: string[] = [];
  for (const { name, media, width } of looks) {
    await page.emulateMedia(media);
    await page.setViewportSize({ width, height });
    for (const rule of await brokenRules(page)) faults.push(`${name}: ${rule}`);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (overflow > 0) faults.push(`${name}: scrolls sideways by ${String(overflow)} px`);
  }
  await page.emulateMedia({ colorScheme: 'light', forcedColors: 'none' });
  await page.setViewportSize({ width: 1280, height });
  return faults;
}

/** A control that the Tab key has come to. */
export interface Stop {
  /** Its role and name as people hear them. */
  name: string;
  /** It looks otherwise than without the focus. */
  visible: boolean;
}

/**
 * Goes once through the page by Tab.
 *
 * @returns the controls in the order in which they come, until the focus comes to one a second time
 */
export async function walkByTab(page: Page, most = 200): Promise<Stop[]> {
  await page.evaluate(() => {
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    getSelection()?.removeAllRanges();
    document.querySelectorAll('[data-walked]').forEach((one) => one.removeAttribute('data-walked'));
  });
  const stops: Stop[] = [];
  let ends = 0;
  for (let i = 0; i < most; i += 1) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate((index) => {
      const now = document.activeElement;
      if (!(now instanceof HTMLElement) || now === document.body) return 'end' as const;
      // A date has a stop for each of its parts, and one for its calendar.
      if (now.dataset['walked'] === String(index - 1)) return 'same' as const;
      if (now.dataset['walked'] !== undefined) return null;
      now.dataset['walked'] = String(index);
      // A radio or checkbox of USWDS shows its focus on its label.
      const labels = 'labels' in now ? [...((now as HTMLInputElement).labels ?? [])] : [];
      const seen = [now, ...labels].some((one) =>
        [getComputedStyle(one), getComputedStyle(one, '::before')].some(
          ({ outlineStyle, outlineWidth }) => outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 1,
        ),
      );
      const label = now.getAttribute('aria-label') ?? labels[0]?.innerText ?? now.innerText.trim().split('\n')[0] ?? '';
      const box = now.getBoundingClientRect();
      return {
        name: `${now.getAttribute('role') ?? now.tagName.toLowerCase()} ${label.trim()}`.trim(),
        visible: seen && box.bottom > 0 && box.top < innerHeight,
      };
    }, stops.length);
    // A page begins at its heading, which has the focus; after the last control comes what stands before it.
    if (stop === 'end') ends += 1;
    else if (stop && stop !== 'same') stops.push(stop);
    if (!stop || ends > 2) return stops;
  }
  throw new Error(`The walk did not end within ${String(most)} stops: ${stops.map(({ name }) => name).join(', ')}`);
}

/** Controls that are there for a mouse and that the walk did not come to. */
export function missedControls(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const controls = 'a[href], button, input, select, textarea, summary, [role="gridcell"], [onclick]';
    const radios = new Set<string>();
    document
      .querySelectorAll<HTMLInputElement>('input[type="radio"][data-walked]')
      .forEach(({ name }) => radios.add(name));
    return [...document.querySelectorAll<HTMLElement>(controls)]
      .filter((one) => {
        const hidden = !one.checkVisibility({ visibilityProperty: true }) || one.closest('[inert]') !== null;
        const off = (one as HTMLButtonElement).disabled || one.dataset['walked'] !== undefined;
        // A group of radio buttons, and a grid, is one stop; arrow keys go on from there.
        const grouped = one instanceof HTMLInputElement && one.type === 'radio' && radios.has(one.name);
        return !hidden && !off && !grouped && one.closest('[role="grid"]') === null;
      })
      .map((one) => one.outerHTML.slice(0, 120));
  });
}
