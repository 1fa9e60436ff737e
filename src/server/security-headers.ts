/** The headers of every answer. A year of HTTPS is promised in production only: a developer's localhost has no certificate. */
export function securityHeaders({ production }: { production: boolean }): Record<string, string> {
  return {
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    ...(production ? { 'strict-transport-security': 'max-age=31536000; includeSubDomains' } : {}),
  };
}
