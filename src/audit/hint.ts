/** What watchers of the audit log wait for; it names no agency. */
export const auditHint = 'audit';
