const databases = [
  'DATABASE_URL',
  'FLUX_API_DATABASE_URL',
  'FLUX_WORKER_DATABASE_URL',
  'FLUX_SEALER_DATABASE_URL',
] as const;
type Name = (typeof databases)[number] | 'REDIS_URL';

/** In production a database or a Redis beyond this machine is reached by TLS that checks certificate and name, or not at all. */
export function plainConnections(values: Partial<Record<Name, string | undefined>>): string[] {
  const database = databases
    .filter((name) => values[name] !== undefined && !isProtected(values[name]))
    .map(
      (name) =>
        `${name} leaves this machine without TLS that is verified; add ?sslmode=verify-full&sslrootcert=<CA file>, or set FLUX_PLAIN_DATABASE=allow where the network itself is protected`,
    );
  const redis = values.REDIS_URL;
  if (redis === undefined || redis.startsWith('rediss:') || isProtected(redis)) return database;
  return [
    ...database,
    'REDIS_URL leaves this machine without TLS; use rediss://, or set FLUX_PLAIN_DATABASE=allow where the network itself is protected',
  ];
}

/** Whether a host, as a URL has it, is the machine itself. */
export function isThisMachine(host: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(host);
}

function isProtected(url: string): boolean {
  const { hostname, searchParams } = new URL(url);
  const host = searchParams.get('host') ?? decodeURIComponent(hostname);
  return host === '' || host.startsWith('/') || isThisMachine(host) || searchParams.get('sslmode') === 'verify-full';
}
