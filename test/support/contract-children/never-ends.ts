/** A compilation that would never come to an end. */
process.on('message', () => {
  for (;;);
});
process.send?.({ ready: true });
