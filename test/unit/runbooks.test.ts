/** The runbooks: there for every alert, and with commands that exist as they are written. */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { expect, test } from 'vitest';
import { parse } from 'yaml';

import { createProgram } from '../../src/cli/cli.ts';

const checkout = path.join(import.meta.dirname, '..', '..');
const files = globSync('docs/operations/*.md', { cwd: checkout });

test('every alert leads to a runbook that names it', () => {
  const { groups } = parse(readFileSync(path.join(checkout, 'k8s/overlays/observability/rules/flux.yaml'), 'utf8')) as {
    groups: { rules: { alert?: string; annotations?: { runbook: string } }[] }[];
  };
  for (const { alert, annotations } of groups.flatMap(({ rules }) => rules)) {
    if (alert === undefined) continue;
    expect(files).toContain(annotations?.runbook);
    expect(readFileSync(path.join(checkout, annotations?.runbook ?? ''), 'utf8'), alert).toContain(`\`${alert}\``);
  }
});

test.for(files)('the flux commands of %s exist, with the options that are given', async (file) => {
  const lines = readFileSync(path.join(checkout, file), 'utf8').match(/^ *flux .*$/gm) ?? [];
  const program = await createProgram();
  for (const line of lines) {
    const words = line.trim().split(/\s+/).slice(1);
    let command = program;
    while (true) {
      const next = command.commands.find((candidate) => candidate.name() === words[0]);
      if (!next) break;
      command = next;
      words.shift();
    }
    expect(command.commands, `${line}: no such command`).toEqual([]);
    const options = command.options.map(({ long }) => long);
    for (const word of words.filter((candidate) => candidate.startsWith('--'))) expect(options, line).toContain(word);
  }
});
