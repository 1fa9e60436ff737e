import type { Command } from 'commander';
import { expect, test } from 'vitest';

import { createProgram } from '../../../src/cli/cli.ts';

const everything = await createProgram();
const names = (program: Command): string[] => program.commands.map((command) => command.name());

/** The words of a command and of all below it, with their options and arguments. */
function helpOf(command: Command): string[] {
  return [command.helpInformation(), ...command.commands.flatMap(helpOf)];
}

test.each(names(everything))('%s, loaded without the others, is the command that it is among them', async (name) => {
  const program = await createProgram(name);
  expect(names(program).length).toBeLessThan(names(everything).length / 2);
  const [alone, among] = [program, everything].map(({ commands }) => commands.find((one) => one.name() === name));
  expect(helpOf(alone as Command)).toEqual(helpOf(among as Command));
});

test.each([undefined, '--help', 'help', 'fly'])('all commands are there when the first word is %s', async (word) => {
  expect(names(await createProgram(word))).toEqual(names(everything));
  expect(names(everything).length).toBeGreaterThan(20);
});
