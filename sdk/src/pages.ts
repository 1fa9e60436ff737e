interface Page<Node> {
  readonly edges: readonly { readonly node: Node; readonly cursor: string }[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

/**
 * Everything in a list, page after page as it is asked for: `for await (const run of everyPage((after) => flux.api.runs({ after })))`.
 *
 * @param ask gives the page after a cursor; the first one for null
 */
export async function* everyPage<Node>(
  ask: (after: string | null) => Promise<Page<Node>>,
): AsyncGenerator<Node, void, undefined> {
  let after: string | null = null;
  do {
    const { edges, pageInfo }: Page<Node> = await ask(after);
    for (const { node } of edges) yield node;
    after = pageInfo.hasNextPage ? pageInfo.endCursor : null;
  } while (after !== null);
}
