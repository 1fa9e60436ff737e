/** A compilation that ends its process where the title says so. */
process.on('message', ({ document }: { document: { title: string } }) => {
  if (document.title === 'end') process.exit(3);
  process.send?.({ contract: document });
});
process.send?.({ ready: true });
