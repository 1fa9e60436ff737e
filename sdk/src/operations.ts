import type { TypedDocument } from './document.ts';

export interface CallOptions {
  /** Ends the request; what it has done by then is done. */
  signal?: AbortSignal;
}

export interface SubscribeOptions {
  signal?: AbortSignal;
}

/** How operations reach the API. `root` names the document's only root field, which the answer is. */
export interface Operations {
  /**
   * Runs a query. Fields that the caller's role may not read are null.
   *
   * @throws FluxError
   */
  query<R, V, K extends keyof R & string>(
    document: TypedDocument<R, V>,
    variables: V,
    root: K,
    options?: CallOptions,
  ): Promise<R[K]>;
  /**
   * Runs a mutation. Without an `idempotencyKey` in its input it gets one, so that the client's own tries do the thing once. What the
   * API expects to go wrong is the result (`successOf` throws it instead).
   *
   * @throws FluxError what nobody expected, or nothing answers
   */
  mutate<R, V, K extends keyof R & string>(
    document: TypedDocument<R, V>,
    variables: V,
    root: K,
    options?: CallOptions,
  ): Promise<R[K]>;
  /**
   * Runs a subscription once, over WebSocket or, where that does not get through, as an event stream. A broken connection throws
   * UNAVAILABLE: `flux.runs.watch` and its like are what goes on by itself.
   *
   * @throws FluxError
   */
  subscribe<R, V, K extends keyof R & string>(
    document: TypedDocument<R, V>,
    variables: V,
    root: K,
    options?: SubscribeOptions,
  ): AsyncGenerator<R[K], void, undefined>;
}
