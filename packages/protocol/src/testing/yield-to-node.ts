/** Resolves when whatever was ready has run: a turn of Node's event loop, for clocks that stand still. */
export const yieldToNode = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });
