/** One thing that was looked at. */
export interface Finding {
  check: string;
  ok: boolean;
  /** What was found; where it is wrong also what was expected and what to do. */
  message: string;
}

/** Looks at one thing. @param work says what it found, or throws what is wrong */
export async function check(name: string, work: () => Promise<string> | string): Promise<Finding> {
  try {
    return { check: name, ok: true, message: await work() };
  } catch (cause) {
    return { check: name, ok: false, message: (cause as Error).message };
  }
}

/** What is wrong, for `check` to tell. Each is a sentence, or the end of one, without its full stop. */
export function wrong(found: string, { expected, advice }: { expected: string; advice: string }): Error {
  return new Error(`${found}; expected ${expected}. ${advice}.`);
}

export function gigabytes(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GB`;
}
