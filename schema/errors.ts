/**
 * The failures that a field can expect, as types. A mutation lists them:
 *
 *     errors: { types: [ValidationError, TransientError] }
 *
 * and its result becomes a union of its own type and theirs. Whatever is not listed is thrown to the transport, which formats
 * and masks it (src/server/error-format.ts).
 */
import { type ErrorClass, FluxError, type Issue, publicMessage } from '../src/errors.ts';
import { builder } from './builder.ts';

/** A stand-in for every FluxError of one class: the errors plugin asks `error instanceof X`. INTERNAL is never expected. */
function ofClass(errorClass: ErrorClass) {
  return (error: unknown): boolean =>
    error instanceof FluxError && error.class === errorClass && error.code !== 'INTERNAL';
}

export class ValidationError extends FluxError {
  static override [Symbol.hasInstance] = ofClass('VALIDATION');
}
export class TransientError extends FluxError {
  static override [Symbol.hasInstance] = ofClass('TRANSIENT');
}
export class TerminalError extends FluxError {
  static override [Symbol.hasInstance] = ofClass('TERMINAL');
}
export class DataIsolationError extends FluxError {
  static override [Symbol.hasInstance] = ofClass('DATA_ISOLATION');
}
export class CheckpointError extends FluxError {
  static override [Symbol.hasInstance] = ofClass('CHECKPOINT');
}
export class AuthorizationError extends FluxError {
  static override [Symbol.hasInstance] = ofClass('AUTHORIZATION');
}
export class AuthenticationError extends FluxError {
  static override [Symbol.hasInstance] = ofClass('AUTHENTICATION');
}

const ErrorClassRef = builder.enumType('ErrorClass', {
  description: 'What kind of failure it is, and so what helps.',
  values: {
    VALIDATION: { description: 'The request is wrong; change it.' },
    TRANSIENT: { description: 'It may pass by itself; send the same again.' },
    TERMINAL: { description: 'It fails again until something outside the request changes.' },
    DATA_ISOLATION: { description: 'The request names an agency that is not the caller’s own.' },
    CHECKPOINT: { description: 'A checkpoint is missing, damaged or does not fit.' },
    AUTHENTICATION: { description: 'There is no token, or it is not valid.' },
    AUTHORIZATION: { description: 'The token’s role does not hold the scope.' },
  } satisfies Record<ErrorClass, { description: string }>,
});

export const ErrorRef = builder.interfaceRef<FluxError>('Error').implement({
  description: 'A failure that the field can expect.',
  auth: 'public',
  fields: (t) => ({
    errorId: t.exposeID('errorId', {
      nullable: false,
      description: 'Names this occurrence; it is in the log as well.',
    }),
    class: t.field({
      type: ErrorClassRef,
      nullable: false,
      description: 'What kind of failure it is.',
      resolve: (error) => error.class,
    }),
    code: t.exposeString('code', {
      nullable: false,
      description: 'Stable code, such as INVALID_INPUT; docs/errors.md lists all.',
    }),
    message: t.string({
      nullable: false,
      description: 'What was expected, what was found, what to do.',
      resolve: publicMessage,
    }),
    retryable: t.boolean({
      nullable: false,
      description: 'Whether the same request may succeed later.',
      resolve: (error) => error.retryable,
    }),
    traceId: t.string({
      description: 'The request’s trace (W3C, 32 hex digits).',
      resolve: (_error, _args, ctx) => ctx.traceId,
    }),
  }),
});

export const IssueRef = builder.objectRef<Issue>('Issue').implement({
  description: 'One broken rule of an input.',
  auth: 'public',
  fields: (t) => ({
    path: t.exposeString('path', {
      nullable: false,
      description: 'Where, as a JSON Pointer (RFC 6901); empty is the whole.',
    }),
    rule: t.exposeString('rule', { nullable: false, description: 'Which rule, by its keyword.' }),
    message: t.exposeString('message', { nullable: false, description: 'What was expected and what was found.' }),
  }),
});

builder.objectType(ValidationError, {
  name: 'ValidationError',
  description: 'The request is wrong; nothing was changed.',
  auth: 'public',
  interfaces: [ErrorRef],
  fields: (t) => ({
    issues: t.field({
      type: [IssueRef],
      nullable: false,
      description: 'Every broken rule.',
      resolve: (error) => error.details.issues ?? [],
    }),
    candidates: t.stringList({
      nullable: false,
      description: 'What would have fitted, where a name was unknown or ambiguous.',
      resolve: (error) => error.details.candidates ?? [],
    }),
  }),
});

const plain = [
  [TransientError, 'TransientError', 'A service did not answer; the same request may succeed later.'],
  [TerminalError, 'TerminalError', 'The request cannot succeed until something outside of it changes.'],
  [
    DataIsolationError,
    'DataIsolationError',
    'The request names an agency that is not the caller’s own, existing or not.',
  ],
  [CheckpointError, 'CheckpointError', 'A checkpoint is missing, damaged or does not fit.'],
  [AuthorizationError, 'AuthorizationError', 'The caller may not do this.'],
  [AuthenticationError, 'AuthenticationError', 'The token is missing or not valid.'],
] as const;
for (const [type, name, description] of plain) {
  builder.objectType(type, { name, description, auth: 'public', interfaces: [ErrorRef] });
}
