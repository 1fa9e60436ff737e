/** Why the pattern may not be used, or null. */
export function patternProblem(pattern: string): string | null {
  try {
    new RegExp(pattern, 'u');
  } catch (cause) {
    return `is no regular expression (${(cause as Error).message})`;
  }
  return null;
}
