/**
 * Results of a subscription, executed and serialised once for all whose results are equal: the same document and variables (where
 * to begin apart) asked with the same rights. Everybody keeps an own place in the stream and takes the text of an item's result
 * from here; who comes first executes it.
 */
import {
  createSourceEventStream,
  type DocumentNode,
  execute,
  type ExecutionArgs,
  type ExecutionResult,
  getOperationAST,
  Kind,
  type OperationDefinitionNode,
  visit,
} from 'graphql';

import type { RequestContext } from '../auth/request-context.ts';
import { type Batches, hasBatches } from '../events/batches.ts';
import type { Logger } from '../telemetry/logger.ts';
import { metrics } from '../telemetry/metrics.ts';
import { reportErrors } from './error-format.ts';
import { hasEnded } from './token-end.ts';

/** One subscriber's results. */
export interface SharedResults {
  readonly batches: Batches<object>;
  /** The result of an item as JSON. Never rejects: what fails is worded as errors. */
  textOf(item: object): string | Promise<string>;
}

export interface ResultSharing {
  /**
   * Begins a subscription: like graphql's `subscribe`, except that a source which can be read in batches, and whose items are
   * the same objects for all, is answered by shared results.
   */
  subscribe(args: ExecutionArgs): Promise<ExecutionResult | AsyncGenerator<ExecutionResult> | SharedResults>;
}

/** Results by item: gone as soon as the source has forgotten the item. A promise of null had a result of its executor's own. */
type Group = WeakMap<object, string | Promise<string | null>>;

export function createResultSharing(options: { logger: Logger; production: boolean }): ResultSharing {
  // Documents are the same object where their text is (operations.ts); a group lives as long as somebody has its context.
  const groups = new WeakMap<DocumentNode, Map<string, WeakRef<Group>>>();
  const groupOf = (args: ExecutionArgs): Group => {
    const ofDocument = groups.get(args.document) ?? new Map<string, WeakRef<Group>>();
    groups.set(args.document, ofDocument);
    for (const [key, group] of ofDocument) if (!group.deref()) ofDocument.delete(key);
    const key = groupKey(args);
    const known = ofDocument.get(key)?.deref();
    if (known) return known;
    const group: Group = new WeakMap();
    ofDocument.set(key, new WeakRef(group));
    return group;
  };

  const serialise = (result: ExecutionResult, context: RequestContext): string => {
    if (!result.errors) return JSON.stringify(result);
    const { requestId, traceId, principal } = context;
    const ids = { requestId, traceId, agency: principal.agency };
    // Others read this too: the trace of the request that came first is not theirs.
    const errors = reportErrors(options.logger, result.errors, { ...ids, hideSuggestions: options.production }).map(
      ({ extensions: { traceId: _traceId, ...extensions }, ...error }) => ({ ...error, extensions }),
    );
    return JSON.stringify({ data: result.data ?? null, errors });
  };

  const share = (args: ExecutionArgs, batches: Batches<object>): SharedResults => {
    const group = groupOf(args);
    const context = args.contextValue as RequestContext;
    const executed = (item: object): string | Promise<string> => {
      metrics.streamExecutions.inc();
      const result = execute({ ...args, rootValue: item });
      if (!(result instanceof Promise)) {
        const text = serialise(result, context);
        if (!isOwnEnd(result, context)) group.set(item, text);
        return text;
      }
      const settled = result
        .catch((cause: unknown) => ({ errors: [cause] }) as unknown as ExecutionResult)
        .then((done) => {
          const text = serialise(done, context);
          const shared = isOwnEnd(done, context) ? null : text;
          if (shared === null) group.delete(item);
          else group.set(item, shared);
          return { text, shared };
        });
      group.set(
        item,
        settled.then(({ shared }) => shared),
      );
      return settled.then(({ text }) => text);
    };
    const textOf = (item: object): string | Promise<string> => {
      const known = group.get(item);
      if (known === undefined) return executed(item);
      return typeof known === 'string' ? known : known.then((text) => text ?? textOf(item));
    };
    return { batches, textOf };
  };

  return {
    async subscribe(args) {
      const source = await createSourceEventStream(args);
      if (!(Symbol.asyncIterator in source)) return source;
      if (hasBatches(source)) return share(args, source.batches);
      return executeEach(args, source);
    },
  };
}

/** Whether a result failed because its executor left or its token ended meanwhile: that is no answer to anybody else. */
function isOwnEnd({ errors }: ExecutionResult, { signal, tokenEnd }: RequestContext): boolean {
  return errors !== undefined && (signal.aborted || hasEnded(tokenEnd));
}

/** What graphql's `subscribe` makes of a source; its `return()` reaches the source at once. */
function executeEach(args: ExecutionArgs, source: AsyncIterable<unknown>): AsyncGenerator<ExecutionResult> {
  const items = source[Symbol.asyncIterator]();
  return {
    async next() {
      const step = await items.next();
      if (step.done === true) return { done: true, value: undefined };
      return { done: false, value: await execute({ ...args, rootValue: step.value }) };
    },
    async return(value) {
      await items.return?.();
      return { done: true, value: value as ExecutionResult };
    },
    async throw(error) {
      if (!items.throw) throw error;
      await items.throw(error);
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await this.return(undefined);
    },
  };
}

/** Everything that a result depends on besides its item. */
function groupKey({ document, operationName, variableValues, contextValue }: ExecutionArgs): string {
  const { agency, role, clearance, scopes } = (contextValue as RequestContext).principal;
  const operation = getOperationAST(document, operationName);
  const free = operation ? cursorVariables(document, operation) : new Set<string>();
  const variables = Object.entries(variableValues ?? {})
    .filter(([name]) => !free.has(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([agency, role, clearance, [...scopes].sort(), operationName ?? null, variables]);
}

const cursorsOf = new WeakMap<OperationDefinitionNode, Set<string>>();

/** Variables that say only where the stream begins: used as `after` of the root field and nowhere else. */
function cursorVariables(document: DocumentNode, operation: OperationDefinitionNode): Set<string> {
  const known = cursorsOf.get(operation);
  if (known) return known;
  const uses = new Map<string, number>();
  visit(document, {
    VariableDefinition: () => false,
    Variable({ name: { value } }) {
      uses.set(value, (uses.get(value) ?? 0) + 1);
    },
  });
  const found = new Set<string>();
  for (const field of operation.selectionSet.selections) {
    if (field.kind !== Kind.FIELD) continue;
    for (const { name, value } of field.arguments ?? []) {
      if (name.value === 'after' && value.kind === Kind.VARIABLE && uses.get(value.name.value) === 1) {
        found.add(value.name.value);
      }
    }
  }
  cursorsOf.set(operation, found);
  return found;
}
