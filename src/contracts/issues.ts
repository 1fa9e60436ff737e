import type { ErrorObject } from 'ajv';
import { FluxError, type ErrorCode, type Issue } from '../errors.ts';

/** Longest part of a found value that a message repeats, characters: enough to recognise it, too little to fill a log. */
const foundLengthMax = 60;

/** A document with thousands of errors is explained by its first; the rest would only hide it. */
const issueCountMax = 50;

/** Ajv's errors as Flux shows them: a JSON Pointer, the rule's keyword, what was expected and what was found. */
export function toIssues(errors: readonly ErrorObject[]): Issue[] {
  const meaningful = errors.filter((error) => error.keyword !== 'if' && error.keyword !== '$ref');
  return meaningful.slice(0, issueCountMax).map((error) => ({
    path: pathOf(error),
    rule: error.keyword,
    message: `${messageOf(error)}${foundOf(error)}`,
  }));
}

/** Throws the issues as one error; the message shows the first few, the details all of them. */
export function refuse(code: ErrorCode, what: string, issues: readonly Issue[]): never {
  const shown = issues.slice(0, 5).map(({ path, message }) => `${path === '' ? 'the document' : path} ${message}`);
  const more = issues.length > shown.length ? `; and ${issues.length - shown.length} more` : '';
  throw new FluxError(code, `${what}: ${shown.join('; ')}${more}.`, { details: { issues } });
}

/** A value as a message repeats it: JSON, shortened. */
export function shorten(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= foundLengthMax ? text : `${text.slice(0, foundLengthMax)}… (${text.length} characters)`;
}

/** One step of a JSON Pointer (RFC 6901). */
export function pointerStep(name: string): string {
  return `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/** Points at the missing or the unwelcome property itself, not at the object around it. */
function pathOf(error: ErrorObject): string {
  const { missingProperty, additionalProperty, propertyName } = error.params as Record<string, unknown>;
  const name = [missingProperty, additionalProperty, propertyName].find((each) => typeof each === 'string');
  return typeof name === 'string' ? `${error.instancePath}${pointerStep(name)}` : error.instancePath;
}

function messageOf(error: ErrorObject): string {
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'required':
    case 'dependentRequired':
      return 'is required';
    case 'additionalProperties':
      return 'is not a known property';
    case 'enum':
      return `must be one of ${(params.allowedValues as unknown[]).map((each) => JSON.stringify(each)).join(', ')}`;
    case 'const':
      return `must be ${JSON.stringify(params.allowedValue)}`;
    case 'discriminator':
      return `needs a known "${String(params.tag)}"`;
    default:
      return error.message ?? `breaks the rule ${error.keyword}`;
  }
}

/** Nothing where the value is absent, or where the message already names it. */
function foundOf(error: ErrorObject): string {
  const silent = ['required', 'dependentRequired', 'additionalProperties', 'propertyNames', 'false schema'];
  if (silent.includes(error.keyword) || error.data === undefined) return '';
  return `, found ${shorten(error.data)}`;
}
