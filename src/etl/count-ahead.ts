import { closeSync, openSync } from 'node:fs';

import { joinedDatasets } from '../contracts/joins.ts';
import type { GrowingObject } from '../objects/growing.ts';
import type { PinnedObject, PinRequest, PlanRequest } from './engine-types.ts';
import { evolves } from './evolved-contract.ts';
import { endChild, type OpenedChild } from './kept-child.ts';
import { type EngineDeps, keyOf, openChild, surveyTimeoutMsDefault } from './open-child.ts';
import { isReadInPlace } from './open-input.ts';
import type { SourceSurvey } from './protocol.ts';
import type { SourcePins } from './source-pins.ts';

/** Between a source's copy and its plan a worker copies the datasets that are joined. */
const untakenMs = 30_000;

/** A source's records, and the child that has counted them. */
export interface Counted {
  opened: OpenedChild;
  survey: SourceSurvey;
}

interface Ahead {
  counted: Promise<Counted>;
  stop: AbortController;
  /** What the child was opened with, once the object is stored that it reads. */
  key: string | null;
  timer: NodeJS.Timeout | null;
}

/** A small copy is done, and its file has moved, before a child has started: it finds the file by what this process holds of it. */
async function openBehind(deps: EngineDeps, request: PlanRequest & { growing: GrowingObject }): Promise<OpenedChild> {
  const fd = openSync(request.growing.path, 'r');
  try {
    const path = `/proc/${String(process.pid)}/fd/${String(fd)}`;
    return await openChild(deps, { ...request, growing: { ...request.growing, path } });
  } finally {
    closeSync(fd);
  }
}

/**
 * Counts sources while they are copied: a child reads the copy right behind whoever writes it, so that it has started, has compiled what it
 * needs and has counted by the time the copy is on disk.
 *
 * Nothing comes of a count before its object is stored, and is what its source said it would be; a count that failed is made anew by the
 * plan, which says why.
 */
export class CountAhead {
  readonly #deps: EngineDeps;
  readonly #byRun = new Map<string, Ahead>();

  constructor(deps: EngineDeps) {
    this.#deps = deps;
  }

  /** Stores a source's bytes. @throws as `pins` does; then nothing is counted any more */
  async pin(pins: SourcePins, request: PinRequest): Promise<PinnedObject> {
    const { planned, signal } = request;
    const runId = planned?.runId;
    if (planned === undefined || runId === undefined || !this.#mayCount(planned)) return pins.pin(request);
    let promised = 0;
    try {
      const pinned = await pins.pin(request, (growing) => {
        promised = growing.byteCount;
        this.#begin(runId, { ...planned, signal }, growing);
      });
      this.#stored(runId, { ...planned, object: pinned, signal }, promised);
      return pinned;
    } catch (cause) {
      this.#drop(runId);
      throw cause;
    }
  }

  /** @returns null where nothing was counted, or not just this */
  async take(request: PlanRequest): Promise<Counted | null> {
    const { runId = '', signal } = request;
    const ahead = this.#byRun.get(runId);
    if (ahead === undefined) return null;
    if (ahead.key === null || ahead.key !== keyOf(this.#deps, request, null)) {
      this.#drop(runId);
      return null;
    }
    this.#forget(runId, ahead);
    const counted = await ahead.counted.catch(() => null);
    if (counted === null) return null;
    counted.opened.child.detach();
    if (counted.opened.child.attach(signal)) return counted;
    await endChild(counted.opened);
    return null;
  }

  /** Only what is read from its first byte to its last, in a child that may be kept, and what needs no look before; on systems with /proc. */
  #mayCount({ definition, staged }: Omit<PlanRequest, 'object' | 'signal'>): boolean {
    const { keepFolder } = this.#deps;
    const { incremental } = definition.source;
    const others = joinedDatasets(definition.transforms).length > 0;
    return (
      process.platform === 'linux' &&
      keepFolder !== undefined &&
      !staged &&
      !incremental &&
      !others &&
      !evolves(definition) &&
      isReadInPlace(definition)
    );
  }

  #begin(runId: string, planned: Omit<PlanRequest, 'object'>, growing: GrowingObject): void {
    this.#drop(runId);
    const stop = new AbortController();
    const signal = AbortSignal.any([planned.signal, stop.signal]);
    const counted = this.#count({ ...planned, object: null, growing, signal });
    // Told to the plan, which may never come.
    counted.catch(() => undefined);
    this.#byRun.set(runId, { counted, stop, key: null, timer: null });
  }

  async #count(request: PlanRequest & { growing: GrowingObject }): Promise<Counted> {
    const opened = await openBehind(this.#deps, request);
    try {
      const timeoutMs = this.#deps.surveyTimeoutMs ?? surveyTimeoutMsDefault;
      return { opened, survey: await opened.child.ask<SourceSurvey>({ ask: 'survey' }, timeoutMs) };
    } catch (cause) {
      await endChild(opened);
      throw cause;
    }
  }

  #stored(runId: string, request: PlanRequest, promised: number): void {
    const ahead = this.#byRun.get(runId);
    if (ahead === undefined) return;
    if (request.object?.byteCount !== promised) return this.#drop(runId);
    ahead.key = keyOf(this.#deps, request, null);
    ahead.timer = setTimeout(() => this.#drop(runId), untakenMs);
    ahead.timer.unref();
  }

  #forget(runId: string, ahead: Ahead): void {
    this.#byRun.delete(runId);
    if (ahead.timer !== null) clearTimeout(ahead.timer);
  }

  #drop(runId: string): void {
    const ahead = this.#byRun.get(runId);
    if (ahead === undefined) return;
    this.#forget(runId, ahead);
    ahead.stop.abort(new Error('nobody asks for this count any more'));
    void ahead.counted.then(({ opened }) => endChild(opened)).catch(() => undefined);
  }
}
