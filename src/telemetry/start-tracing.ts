import { context, trace } from '@opentelemetry/api';
import type { SpanExporter } from '@opentelemetry/sdk-trace';

import { toldSpan } from './told-span.ts';
import { traceWith } from './tracing.ts';

export interface TracingOptions {
  /** `flux-api` */
  service: string;
  /** Of an OTLP collector (OTEL_EXPORTER_OTLP_ENDPOINT); absent: nothing is traced, and no package of the SDK is loaded. */
  endpoint?: string | undefined;
  /** The part of new traces that is kept, 0 to 1 (OTEL_TRACES_SAMPLER_ARG); a trace that came with its request is kept as it came. */
  ratio?: number | undefined;
  /** Told of what could not be exported. */
  onError?: (cause: Error) => void;
}

export interface Tracing {
  /** Sends what is left, for two seconds at most. Never throws. */
  stop(): Promise<void>;
}

const off: Tracing = { stop: () => Promise.resolve() };
/** Spans beyond them are dropped: a collector that is gone must not fill the memory. */
const queueMax = 4_096;
const exportMs = 10_000;
/** What a process that ends waits for its last spans. */
const goodbyeMs = 2_000;

/**
 * Traces this process and sends its spans by OTLP over HTTP. It has to come before `graphql` is loaded, whose functions the
 * instrumentation replaces as they are loaded.
 */
export async function startTracing({ service, endpoint, ratio = 1, onError }: TracingOptions): Promise<Tracing> {
  if (endpoint === undefined) return off;
  const [sdk, { OTLPTraceExporter }, { AsyncLocalStorageContextManager }, { resourceFromAttributes }, graphql] =
    await Promise.all([
      import('@opentelemetry/sdk-trace'),
      import('@opentelemetry/exporter-trace-otlp-http'),
      import('@opentelemetry/context-async-hooks'),
      import('@opentelemetry/resources'),
      import('@opentelemetry/instrumentation-graphql'),
    ]);
  const exporter = new OTLPTraceExporter({
    url: `${endpoint.replace(/\/+$/, '')}/v1/traces`,
    timeoutMillis: exportMs,
    // Spans go every five seconds, which is when many servers close what was idle: a kept connection would lose them now and then.
    keepAlive: false,
  });
  const provider = new sdk.TracerProvider({
    resource: resourceFromAttributes({ 'service.name': service }),
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(ratio) }),
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter: telling(exporter, onError),
        maxQueueSize: queueMax,
        // More than one try of the exporter takes.
        exportTimeoutMillis: 3 * exportMs,
      }),
    ],
    spanLimits: { attributeValueLengthLimit: 2_000 },
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager());
  // Values in documents are replaced by *, and so is whatever a client has named an operation by: its type alone names the span.
  const instrumentation = new graphql.GraphQLInstrumentation({
    mergeItems: true,
    ignoreTrivialResolveSpans: true,
    allowValues: false,
  });
  instrumentation.setTracerProvider(provider);
  traceWith(provider.getTracer('flux'));
  return {
    async stop() {
      traceWith(undefined);
      instrumentation.disable();
      let late: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => (late = setTimeout(resolve, goodbyeMs)));
      await Promise.race([provider.shutdown().catch(() => undefined), patience]);
      clearTimeout(late);
      context.disable();
      trace.disable();
    },
  };
}

/** The SDK tells of failed exports on a logger of its own, which nobody hears. Once a minute is enough. */
function telling(exporter: SpanExporter, onError: TracingOptions['onError']): SpanExporter {
  let told = Number.NEGATIVE_INFINITY;
  return {
    export(spans, done) {
      exporter.export(spans.map(toldSpan), (result) => {
        const now = performance.now();
        if (result.error && now - told > 60_000) {
          told = now;
          onError?.(result.error);
        }
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    ...(exporter.forceFlush ? { forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve() } : {}),
  };
}
