import { expect, it, vi } from 'vitest';

import { printFailure } from '../../../src/cli/output.ts';

it.each([true, false])('promises nobody that a command is repeated (JSON: %s)', (json) => {
  const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  try {
    expect(printFailure(Object.assign(new Error('deadlock detected'), { code: '40P01' }), json)).toBe(4);
    const text = written.mock.calls.join('');
    expect(text).toContain('(deadlock detected). Give the command again.');
    expect(text).not.toContain('by itself');
  } finally {
    written.mockRestore();
  }
});
