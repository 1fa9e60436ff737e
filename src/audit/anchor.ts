import { mkdir, open, readFile } from 'node:fs/promises';
import path from 'node:path';

import { type Checkpoint, readNote } from './signed-note.ts';

/**
 * The anchor: a file outside the database, to which every signed checkpoint is appended, a JSON string a line. It is what an
 * administrator of the database cannot rewrite: put it on a volume or behind a stream of its own.
 */
export interface Anchor {
  /** Oldest first. A line that a crash cut off is passed over: its checkpoint is written again. */
  read(): Promise<AnchoredNote[]>;
  /** Durable when it resolves. */
  append(notes: readonly string[]): Promise<void>;
}

export interface AnchoredNote {
  note: string;
  checkpoint: Checkpoint;
}

export function anchorFile(file: string): Anchor {
  return {
    async read() {
      const text = await readFile(file, 'utf8').catch((cause: unknown) => {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return '';
        throw cause;
      });
      return text.split('\n').flatMap((line) => noteOf(line) ?? []);
    },
    async append(notes) {
      if (notes.length === 0) return;
      await mkdir(path.dirname(file), { recursive: true });
      const handle = await open(file, 'a', 0o644);
      try {
        // The first line break ends what a crash may have cut off.
        await handle.write(`\n${notes.map((note) => JSON.stringify(note)).join('\n')}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
  };
}

function noteOf(line: string): AnchoredNote | null {
  try {
    const note: unknown = JSON.parse(line);
    const checkpoint = typeof note === 'string' ? readNote(note) : null;
    return checkpoint ? { note: note as string, checkpoint } : null;
  } catch {
    return null;
  }
}
