/** A compilation that takes all the memory there is. */
process.on('message', () => {
  const all: unknown[] = [];
  for (;;) all.push(Array.from({ length: 10_000 }, (_none, i) => ({ i })));
});
process.send?.({ ready: true });
