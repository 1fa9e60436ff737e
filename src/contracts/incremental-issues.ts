import type { Issue } from '../errors.ts';
import type { Contract, ContractKeywords } from './contract.ts';
import type { PipelineDefinition } from './documents.ts';
import { inlined } from './inline-references.ts';

const timeFormats = ['date', 'date-time', 'local-date-time'];

/**
 * What is wrong with a pipeline that reads only what is new. A database finds that out itself, by its own columns; of anything else the
 * whole is read, and the records themselves have to say it.
 *
 * @param kind of the connection
 */
export function incrementalIssues(
  { source: { incremental }, transforms }: PipelineDefinition,
  contract: Contract,
  kind: string,
): Issue[] {
  if (incremental === undefined) return [];
  const issues: Issue[] = [];
  for (const [at, { type }] of transforms.entries()) {
    if (type !== 'aggregate' && type !== 'sql') continue;
    const message = `is ${type}, which would see only what is new and write that over what was made of everything; remove it, or source.incremental`;
    issues.push({ path: `/transforms/${String(at)}`, rule: 'incremental', message });
  }
  if (kind !== 'postgres') {
    const message = cursorMessage(inlined(contract) as ContractKeywords, incremental.cursor);
    if (message !== null) issues.push({ path: '/source/incremental/cursor', rule: 'incremental', message });
  }
  return issues;
}

function cursorMessage({ properties = {}, required = [] }: ContractKeywords, cursor: string): string | null {
  const field = Object.hasOwn(properties, cursor) ? properties[cursor] : undefined;
  if (field === undefined)
    return `names ${cursor}, which the contract does not have; it has ${Object.keys(properties).slice(0, 20).join(', ')}`;
  const { type, format }: ContractKeywords = typeof field === 'boolean' ? {} : field;
  const ordered = type === 'integer' || type === 'number' || (type === 'string' && timeFormats.includes(format ?? ''));
  if (!ordered)
    return `names ${cursor}, which must be an integer, a number, or a string of the format ${timeFormats.join(', ')}`;
  return required.includes(cursor)
    ? null
    : `names ${cursor}, which the contract must require: what has none would never be new`;
}
