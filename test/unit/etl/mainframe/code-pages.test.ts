import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { codePage } from '../../../../src/etl/ingest/mainframe/code-pages.ts';

const python = spawnSync('python3', ['--version']).status === 0;

describe('the code pages', () => {
  test.skipIf(!python).each(['cp037', 'cp500', 'cp1140'] as const)("%s is Python's", (name) => {
    const { stdout } = spawnSync('python3', [
      '-c',
      `import json; print(json.dumps([ord(c) for c in bytes(range(256)).decode('${name}')]))`,
    ]);
    expect([...codePage(name)]).toEqual(JSON.parse(stdout.toString()));
  });

  test('1047 moves six characters of 037, and is otherwise the same', () => {
    const base = codePage('cp037');
    const moved = [...codePage('cp1047').entries()].filter(([byte, point]) => base[byte] !== point);
    expect(moved.map(([byte, point]) => [byte.toString(16), String.fromCodePoint(point)])).toEqual([
      ['5f', '^'],
      ['ad', '['],
      ['b0', '¬'],
      ['ba', 'Ý'],
      ['bb', '¨'],
      ['bd', ']'],
    ]);
  });

  test.each(['cp037', 'cp500', 'cp1047'] as const)('%s has every character of Latin 1 once', (name) => {
    expect([...codePage(name)].sort((one, other) => one - other)).toEqual(
      Array.from({ length: 256 }, (_each, at) => at),
    );
  });
});
