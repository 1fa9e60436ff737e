import type { WantedCluster } from '../protocol.ts';
import type { RecordColumns } from './columns.ts';
import type { Chunk, RangeRequest, SourceReader, Survey } from './reader.ts';

/**
 * Reads chosen records of a source at their places, in place of all of them: each cluster is read from its beginning to its
 * end, and what was not asked for is left out. Its position is the cluster, and the last chosen record that is done.
 */
export class WantedReader implements SourceReader {
  readonly columns: RecordColumns;
  readonly sample: string;
  readonly rawJson: boolean;
  readonly #inner: SourceReader;
  #clusters: readonly WantedCluster[] = [];
  #cluster = 0;
  #begun = false;
  #done = 0;

  constructor(inner: SourceReader) {
    this.#inner = inner;
    this.columns = inner.columns;
    this.sample = inner.sample;
    this.rawJson = inner.rawJson;
  }

  survey(markEvery: number): Promise<Survey> {
    return this.#inner.survey(markEvery);
  }

  /** @param from `cluster` and `done`, as a chunk's `next` says them; none begins at the first */
  start({ from }: RangeRequest): Promise<void> {
    this.#cluster = from['cluster'] ?? 0;
    this.#done = from['done'] ?? 0;
    this.#begun = false;
    return Promise.resolve();
  }

  choose(clusters: readonly WantedCluster[]): void {
    this.#clusters = clusters;
  }

  async next(records: number): Promise<Chunk> {
    for (let cluster = this.#clusters[this.#cluster]; cluster; cluster = this.#clusters[this.#cluster]) {
      if (!this.#begun) await this.#inner.start({ from: cluster.from, records: cluster.records });
      this.#begun = true;
      const chunk = await this.#inner.next(records);
      if (chunk.last || chunk.recordsRead === 0) {
        this.#cluster += 1;
        this.#begun = false;
      }
      const wanted = within(cluster.wanted, chunk).filter((recordNo) => recordNo > this.#done);
      if (wanted.length > 0) return this.#only(chunk, wanted);
    }
    return this.#nothing();
  }

  close(): void {
    this.#inner.close();
  }

  #only(chunk: Chunk, wanted: readonly number[]): Chunk {
    const chosen = new Set(wanted);
    const unreadable = chunk.unreadable.filter(({ recordNo }) => chosen.has(recordNo));
    const refused = chunk.refused.filter(({ recordNo }) => chosen.has(recordNo));
    this.#done = wanted.at(-1) ?? this.#done;
    return {
      ...chunk,
      relation: `select * from (${chunk.relation}) where _flux_record in (select unnest([${wanted.join(', ')}]::bigint[]))`,
      rowCount: wanted.length - unreadable.length - refused.length,
      recordsRead: wanted.length,
      firstRecord: wanted[0] ?? null,
      lastRecord: wanted.at(-1) ?? null,
      unreadable,
      refused,
      next: { cluster: this.#cluster, done: this.#done },
      last: this.#cluster >= this.#clusters.length,
    };
  }

  #nothing(): Chunk {
    return {
      relation: this.sample,
      rowCount: 0,
      recordsRead: 0,
      bytesRead: 0,
      firstRecord: null,
      lastRecord: null,
      unreadable: [],
      refused: [],
      next: { cluster: this.#cluster, done: this.#done },
      last: true,
      rawOf: () => ({ raw: null, byteOffset: null }),
    };
  }
}

function within(wanted: readonly number[], { firstRecord, lastRecord }: Chunk): number[] {
  if (firstRecord === null || lastRecord === null) return [];
  return wanted.filter((recordNo) => recordNo >= firstRecord && recordNo <= lastRecord);
}
