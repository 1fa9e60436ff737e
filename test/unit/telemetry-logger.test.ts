import { describe, expect, it } from 'vitest';

import { FluxError } from '../../src/errors.ts';
import { createLogger, type LoggerOptions } from '../../src/telemetry/logger.ts';

function logInto(lines: Record<string, unknown>[], level: LoggerOptions['level'] = 'info') {
  return createLogger({
    service: 'worker',
    level,
    destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
}

describe('a log line', () => {
  it('has timestamp, level, message, service, trace_id and fields', () => {
    const lines: Record<string, unknown>[] = [];
    logInto(lines)
      .child({ runId: 'r1' })
      .info({ traceId: 'a'.repeat(32), count: 12n }, 'a batch was committed');
    expect(lines).toEqual([
      {
        level: 'info',
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        service: 'worker',
        trace_id: 'a'.repeat(32),
        fields: { runId: 'r1', count: '12' },
        message: 'a batch was committed',
      },
    ]);
  });

  it('below the level is not written', () => {
    const lines: Record<string, unknown>[] = [];
    const logger = logInto(lines, 'warn');
    logger.debug({}, 'no');
    logger.info({}, 'no');
    logger.warn({}, 'yes');
    logger.error({}, 'yes');
    logger.fatal({}, 'yes');
    expect(lines.map(({ level }) => level)).toEqual(['warn', 'error', 'fatal']);
  });

  it('holds no secret', () => {
    const lines: Record<string, unknown>[] = [];
    logInto(lines).info(
      {
        authorization: 'Bearer s3cret',
        headers: { Cookie: 's3cret', 'X-Token': 's3cret' },
        nested: [{ password: 's3cret' }],
        contextKey: Buffer.from('s3cret'),
        url: 'postgres://flux:s3cret@db:5432/flux',
        err: new Error('connect postgres://flux:s3cret@db:5432/flux failed', { cause: { secret: 's3cret' } }),
      },
      'connecting to postgres://flux:s3cret@db:5432/flux',
    );
    expect(JSON.stringify(lines)).not.toContain('s3cret');
    expect(JSON.stringify(lines)).toContain('postgres://flux:***@db:5432/flux');
  });

  it.each(
    'apiKey api_key x-api-key accessKey secretAccessKey auditKey FLUX_AUDIT_KEY sealKey FLUX_CONTEXT_KEY dataKey privateKey credential credentials passphrase passwd refreshToken'.split(
      ' ',
    ),
  )('hides what is called %s', (name) => {
    const lines: Record<string, unknown>[] = [];
    logInto(lines).info({ [name]: 's3cret', inside: { [name]: { deeper: 's3cret' } } }, 'seen');
    expect(JSON.stringify(lines)).not.toContain('s3cret');
  });

  it.each(['key', 'keyId', 'primaryKey', 'tokens', 'accessKeyless'])('shows what is called %s', (name) => {
    const lines: Record<string, unknown>[] = [];
    logInto(lines).info({ [name]: 'plain' }, 'seen');
    expect(lines[0]?.['fields']).toEqual({ [name]: 'plain' });
  });

  it('tells an error’s chain of causes, and not the values in a driver’s detail', () => {
    const lines: Record<string, unknown>[] = [];
    const driver = Object.assign(new Error('duplicate key'), {
      code: '23505',
      detail: 'Key (ssn)=(123-45-6789) already exists.',
    });
    const error = new FluxError('INTERNAL', 'it failed', { cause: driver });
    logInto(lines).error({ err: error }, 'failed');
    expect(lines[0]?.['fields']).toMatchObject({
      err: {
        type: 'FluxError',
        code: 'INTERNAL',
        errorId: error.errorId,
        cause: { code: '23505', message: 'duplicate key' },
      },
    });
    expect(JSON.stringify(lines)).not.toContain('123-45');
  });

  it('ends although the value has a cycle', () => {
    const lines: Record<string, unknown>[] = [];
    const cycle: Record<string, unknown> = { at: new Date(0), bytes: Buffer.alloc(3) };
    cycle['self'] = cycle;
    logInto(lines).info(cycle, 'round');
    expect(JSON.stringify(lines)).toMatch(/\[deeper\].*|1970/);
  });
});
