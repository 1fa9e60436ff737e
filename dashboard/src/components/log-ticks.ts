const steps = [[1, 2, 5], [1, 3], [1]] as const;
const most = 4;

/** Round durations on a logarithmic axis, as many as can be told apart: 1, 2, 5 of each power of ten, or fewer of them. */
export function logTicks(fromMs: number, toMs: number): number[] {
  const powers = Array.from({ length: 12 }, (_, i) => 10 ** i);
  const choices = steps.map((each) =>
    powers.flatMap((power) => each.map((step) => step * power)).filter((ms) => ms >= fromMs && ms <= toMs),
  );
  const last = choices.at(-1) ?? [];
  const thinned = last.filter((_, i) => i % Math.ceil(last.length / most) === 0);
  return choices.find((ticks) => ticks.length <= most) ?? thinned;
}
