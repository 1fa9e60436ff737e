import type { Client } from './client.ts';
import type { Transport } from './settings.ts';
import type { StreamHooks } from './stream.ts';
import { poll, watch, type WatchOptions } from './watch-options.ts';

interface FeedPage<Item> {
  readonly edges: readonly { readonly node: Item }[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

/** Something that grows at its end, for ever: a stream of it, and pages with the same cursors. */
export interface Feed<Item> {
  open(transport: Exclude<Transport, 'polling'>, after: string | null, hooks: StreamHooks): AsyncIterable<Item>;
  /** What comes after a cursor. */
  page(after: string | null, options: { signal: AbortSignal }): Promise<FeedPage<Item>>;
  /** A page whose end cursor is where the feed stands now, asked for once. */
  end(hooks: Pick<StreamHooks, 'signal' | 'used'>): Promise<FeedPage<unknown>>;
}

/** Items of a feed after a cursor, or from now on: in order and each once, by whatever way they come. @throws FluxError */
export function watchFeed<Item extends { readonly cursor: string }>(
  client: Client,
  feed: Feed<Item>,
  options: WatchOptions & { after?: string | null },
): AsyncGenerator<Item, void, undefined> {
  return watch<Item>(
    client,
    {
      after: options.after ?? null,
      findPlace: async (hooks) => (await feed.end(hooks)).pageInfo.endCursor,
      open(transport, after, hooks) {
        if (transport !== 'polling') return feed.open(transport, after, hooks);
        let cursor = after;
        return poll<Item>(client, hooks, async () => {
          const { edges, pageInfo } = await feed.page(cursor, hooks);
          cursor = pageInfo.endCursor;
          return { items: edges.map(({ node }) => node), more: pageInfo.hasNextPage };
        });
      },
      cursorOf: ({ cursor }) => cursor,
      isLast: () => false,
    },
    options,
  );
}
