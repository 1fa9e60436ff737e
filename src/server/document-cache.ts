import type { DocumentNode, GraphQLSchema } from 'graphql';

/** Valid documents by their text. Whoever sends the same text gets the same object. */
export interface DocumentCache {
  get(schema: GraphQLSchema, introspection: boolean, text: string): DocumentNode | undefined;
  set(schema: GraphQLSchema, introspection: boolean, text: string, document: DocumentNode): void;
}

/** Characters of all texts together; a document takes some thirty times its text. Clients send few texts, again and again. */
const charactersMax = 1_000_000;

/** Keeps what was used last. Only what passed every check gets in, so a hostile text displaces nothing. */
export function createDocumentCache(most = charactersMax): DocumentCache {
  const perSchema = new WeakMap<GraphQLSchema, Map<string, DocumentNode>>();
  const keyOf = (introspection: boolean, text: string): string => (introspection ? `+${text}` : `-${text}`);
  const sizes = new WeakMap<Map<string, DocumentNode>, number>();
  return {
    get(schema, introspection, text) {
      const known = perSchema.get(schema);
      const key = keyOf(introspection, text);
      const document = known?.get(key);
      if (known && document) {
        known.delete(key);
        known.set(key, document);
      }
      return document;
    },
    set(schema, introspection, text, document) {
      const known = perSchema.get(schema) ?? new Map<string, DocumentNode>();
      perSchema.set(schema, known);
      const key = keyOf(introspection, text);
      if (known.has(key)) return;
      known.set(key, document);
      let size = (sizes.get(known) ?? 0) + key.length;
      for (const oldest of known.keys()) {
        if (size <= most) break;
        known.delete(oldest);
        size -= oldest.length;
      }
      sizes.set(known, size);
    },
  };
}
