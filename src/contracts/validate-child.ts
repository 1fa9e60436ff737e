/** The process of `ContractValidator`: reads contracts one after the other. Whoever started it kills it when one takes too long. */
import { toFluxError } from '../errors.ts';
import { validateContract } from './contract.ts';
import type { ApartReply } from './validate-apart.ts';

process.on('message', ({ document }: { document?: unknown }) => say(replyTo(document)));
say({ ready: true });

function say(reply: ApartReply): void {
  process.send?.(reply);
}

function replyTo(document: unknown): ApartReply {
  try {
    return { contract: validateContract(document) };
  } catch (cause) {
    const { code, message, details } = toFluxError(cause);
    return { error: { code, message, details } };
  }
}
