const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isUuid(text: string): boolean {
  return uuid.test(text);
}

/** A run's id from its global id, or as the command line shows it; null when it is neither. */
export function runIdOf(id: string): string | null {
  if (isUuid(id)) return id;
  const [type, key = ''] = Buffer.from(id, 'base64url').toString('utf8').split(':');
  return type === 'Run' && isUuid(key) ? key : null;
}

/** A checkpoint's id from its global id or as events show it; null when it is neither. */
export function checkpointIdOf(id: string): string | null {
  if (isUuid(id)) return id;
  const [type, key = ''] = Buffer.from(id, 'base64url').toString('utf8').split(':');
  return type === 'Checkpoint' && isUuid(key) ? key : null;
}

/** A live subscription's id from its global id or as a UUID; null when it is neither. */
export function subscriptionIdOf(id: string): string | null {
  if (isUuid(id)) return id;
  const [type, key = ''] = Buffer.from(id, 'base64url').toString('utf8').split(':');
  return type === 'LiveSubscription' && isUuid(key) ? key : null;
}

/** A bulk operation's id from its global id or as a UUID; null when it is neither. */
export function bulkOperationIdOf(id: string): string | null {
  if (isUuid(id)) return id;
  const [type, key = ''] = Buffer.from(id, 'base64url').toString('utf8').split(':');
  return type === 'BulkOperation' && isUuid(key) ? key : null;
}

/** `name@version`, as the ids of contracts and pipelines hold it; null when it is something else. */
export function versionedNameOf(key: string): { name: string; version: number } | null {
  const parts = /^([a-z0-9][a-z0-9-]{0,62})@([1-9][0-9]{0,8})$/.exec(key);
  return parts ? { name: parts[1] as string, version: Number(parts[2]) } : null;
}
