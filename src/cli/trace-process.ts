import { inheritedEnvironment } from '../config.ts';
import { createLogger } from '../telemetry/logger.ts';
import { startTracing } from '../telemetry/start-tracing.ts';
import { inSpan, SpanKind } from '../telemetry/tracing.ts';

/** The commands that are services; their work is traced request by request, and run by run. */
const services: Readonly<Record<string, string>> = { serve: 'flux-api', worker: 'flux-worker', sealer: 'flux-sealer' };
/** They start services, and ask nothing themselves. */
const supervisors = new Set(['up', 'demo']);

/**
 * Runs a command of this process with tracing on, where OTEL_EXPORTER_OTLP_ENDPOINT names a collector. It comes before everything else is
 * loaded, because the instrumentation of `graphql` replaces functions as they are loaded.
 *
 * A command that asks the API is a span, of which the API's are children.
 */
export async function traceProcess(argv: readonly string[], load: () => Promise<() => Promise<void>>): Promise<void> {
  const [name = '', word = ''] = argv.slice(2);
  const env = inheritedEnvironment();
  const endpoint = env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  if (!endpoint || !URL.canParse(endpoint) || supervisors.has(name)) return (await load())();
  const ratio = Number(env['OTEL_TRACES_SAMPLER_ARG'] ?? '1');
  const service = services[name] ?? 'flux-cli';
  const log = createLogger({ service, level: 'warn' });
  const tracing = await startTracing({
    service,
    endpoint,
    ratio: ratio >= 0 && ratio <= 1 ? ratio : 1,
    ...(service === 'flux-cli' ? {} : { onError: (err) => log.warn({ err }, 'spans could not be exported') }),
  });
  try {
    const run = await load();
    if (services[name] !== undefined) await run();
    else await inSpan(commandName(name, word), { kind: SpanKind.CLIENT, parent: null }, run);
  } finally {
    await tracing.stop();
  }
}

/** `flux runs start`: the names of commands, and nothing that was given to them. */
function commandName(...words: string[]): string {
  return ['flux', ...words.filter((word) => /^[a-z][a-z-]{1,20}$/.test(word))].join(' ');
}
