import {
  type Attributes,
  context,
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type TimeInput,
  type Tracer,
} from '@opentelemetry/api';

export { SpanKind } from '@opentelemetry/api';

/**
 * Spans, where tracing is on (`start-tracing.ts`); where it is off every function here does its work and nothing else.
 *
 * Attributes are names, numbers and ids. No value of a request, of a statement or of a record may enter one, and a failure is told by its
 * code alone: messages may repeat what they are about.
 */
let tracer: Tracer | undefined;

/** Switches tracing on, or off again. */
export function traceWith(made: Tracer | undefined): void {
  tracer = made;
}

export function isOn(): boolean {
  return tracer !== undefined;
}

/** Whether a span is active, of which others can be parts. */
export function isTraced(): boolean {
  return tracer !== undefined && trace.getActiveSpan() !== undefined;
}

/** A span of another process, or of an earlier request: W3C Trace Context's trace-id and parent-id. */
export interface SpanPlace {
  /** 32 hex digits. */
  traceId: string;
  /** 16 hex digits. */
  spanId: string;
}

export interface SpanOptions {
  kind?: SpanKind;
  attributes?: Attributes;
  /** Absent: the active span; null: none, a trace begins. */
  parent?: SpanPlace | null | undefined;
  startTime?: TimeInput;
}

/** Does the work inside a span that ends with it. What the work throws passes. */
export function inSpan<T>(name: string, options: SpanOptions, work: () => Promise<T>): Promise<T> {
  if (!tracer) return work();
  const { span, around } = openSpan(name, options);
  return context.with(around, async () => {
    try {
      return await work();
    } catch (cause) {
      failSpan(span, cause);
      throw cause;
    } finally {
      span.end();
    }
  });
}

/** As `inSpan`, for work that is over at once. */
export function inShortSpan<T>(name: string, options: SpanOptions, work: () => T): T {
  if (!tracer) return work();
  const { span, around } = openSpan(name, options);
  try {
    return context.with(around, work);
  } finally {
    span.end();
  }
}

export interface OpenSpan {
  span: Span;
  /** The context in which it is the active span. */
  around: Context;
}

/** Does something with the span as the active one, also for what it sets going. */
export function within<T>({ around }: OpenSpan, work: () => T): T {
  return context.with(around, work);
}

/** A span that is ended by hand. */
export function openSpan(
  name: string,
  { kind = SpanKind.INTERNAL, attributes = {}, parent, startTime }: SpanOptions,
): OpenSpan {
  const around = parent === undefined ? context.active() : parent === null ? ROOT_CONTEXT : remoteContext(parent);
  const given = startTime === undefined ? {} : { startTime };
  const span = (tracer ?? trace.getTracer('flux')).startSpan(name, { kind, attributes, ...given }, around);
  return { span, around: trace.setSpan(around, span) };
}

export function failSpan(span: Span, cause: unknown): void {
  const code = (cause as { code?: unknown } | null)?.code;
  span.setAttribute('error.type', typeof code === 'string' ? code : 'INTERNAL');
  span.setStatus({ code: SpanStatusCode.ERROR });
}

/** The active span's place; null where nothing is traced, or the trace is not sampled. */
export function activePlace(): SpanPlace | null {
  const found = tracer && trace.getActiveSpan()?.spanContext();
  return found && (found.traceFlags & TraceFlags.SAMPLED) !== 0
    ? { traceId: found.traceId, spanId: found.spanId }
    : null;
}

const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;

/** What a `traceparent` names (W3C Trace Context, section 3.2); null when it is none. */
export function placeOf(header: unknown): SpanPlace | null {
  const [, traceId = '', spanId = ''] = (typeof header === 'string' ? traceparent.exec(header) : null) ?? [];
  return /[^0]/.test(traceId) && /[^0]/.test(spanId) ? { traceId, spanId } : null;
}

/** The active span as a `traceparent`, for whom is asked next. */
export function traceparentOf(place: SpanPlace): string {
  return `00-${place.traceId}-${place.spanId}-01`;
}

function remoteContext({ traceId, spanId }: SpanPlace): Context {
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true });
}
