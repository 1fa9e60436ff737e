import type { Browser, Page } from 'playwright-core';

export interface MainThread {
  seconds: number;
  tasks: number;
  /** Tasks over 50 ms by the wall clock, milliseconds; on a busy machine also those that waited for a processor. */
  longTasks: number[];
  /** The longest task by its own time on a processor, milliseconds: that others run beside it adds little. */
  longestCpuMs: number;
  /** What all tasks cost of a processor. */
  cpuMs: number;
  /** Of it, our scripts. */
  scriptCpuMs: number;
  /** Times that the page's content changed, each with whatever changed together. */
  draws: number;
  /** Nodes and attributes that changed. */
  changes: number;
}

interface TraceEvent {
  name: string;
  pid: number;
  tid: number;
  /** Microseconds by the wall clock, and on a processor. */
  dur?: number;
  tdur?: number;
  args: { name?: string };
}

/** What the page's main thread does while `work` goes on, by Chromium's own trace, and what changes in its document. */
export async function watchMainThread(browser: Browser, page: Page, work: () => Promise<void>): Promise<MainThread> {
  await page.evaluate(() => {
    const changed = { draws: 0, changes: 0 };
    (globalThis as unknown as { changed: typeof changed }).changed = changed;
    new MutationObserver((records) => {
      changed.draws += 1;
      for (const { addedNodes, removedNodes } of records)
        changed.changes += Math.max(1, addedNodes.length + removedNodes.length);
    }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  });
  await browser.startTracing(page, { categories: ['toplevel', 'devtools.timeline'] });
  const began = performance.now();
  await work();
  const seconds = (performance.now() - began) / 1_000;
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  const changed = await page.evaluate(
    () => (globalThis as unknown as { changed: { draws: number; changes: number } }).changed,
  );
  const thread = ({ pid, tid }: TraceEvent): string => `${String(pid)} ${String(tid)}`;
  const mains = new Set(
    traceEvents.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain').map(thread),
  );
  const onMain = traceEvents.filter((event) => mains.has(thread(event)));
  const tasks = onMain.filter(({ name, tdur }) => name === 'ThreadControllerImpl::RunTask' && tdur !== undefined);
  if (tasks.length === 0) throw new Error('expected tasks of the main thread in the trace, found none');
  const cpu = (events: readonly TraceEvent[]): number =>
    Math.round(events.reduce((sum, { tdur = 0 }) => sum + tdur, 0) / 1_000);
  return {
    seconds: Math.round(seconds * 10) / 10,
    tasks: tasks.length,
    longTasks: tasks.map(({ dur = 0 }) => Math.round(dur / 1_000)).filter((ms) => ms > 50),
    longestCpuMs: tasks.reduce((most, { tdur = 0 }) => Math.max(most, tdur / 1_000), 0),
    cpuMs: cpu(tasks),
    scriptCpuMs: cpu(onMain.filter(({ name }) => name === 'FunctionCall')),
    ...changed,
  };
}
