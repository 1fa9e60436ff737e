/** The text of one operation with the types of what goes in and what comes out. */
export interface TypedDocument<Result, Variables> {
  readonly text: string;
  /** `sha256:<hex>` of the text: its id where the server takes trusted documents only. */
  readonly hash: string;
  /** Never there; it carries the types. */
  readonly types?: (variables: Variables) => Result;
}

export function typedDocument<Result, Variables>(text: string, hash: string): TypedDocument<Result, Variables> {
  return { text, hash };
}
