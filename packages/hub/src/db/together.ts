/**
 * One call to the database for many that ask for the same at the same time: thousands of devices join when a hub
 * starts.
 *
 * Nobody waits for company: the first goes at once, and those that come meanwhile go together after it. An error is
 * everybody's who went together.
 */
export type Together<Item, Result> = (item: Item) => Promise<Result>;

/** `act` gives one result for each item, in their order; at most `itemsMax` at once. */
export function together<Item, Result>(
  itemsMax: number,
  act: (items: readonly Item[]) => Promise<readonly Result[]>,
): Together<Item, Result> {
  let waiting: { readonly item: Item; readonly done: PromiseWithResolvers<Result> }[] = [];
  let isActing = false;

  async function actOnAll(): Promise<void> {
    isActing = true;
    while (waiting.length > 0) {
      const batch = waiting.slice(0, itemsMax);
      waiting = waiting.slice(itemsMax);
      try {
        const results = await act(batch.map(({ item }) => item));
        for (const [index, { done }] of batch.entries()) done.resolve(results[index] as Result);
      } catch (error) {
        for (const { done } of batch) done.reject(error);
      }
    }
    isActing = false;
  }

  return (item) => {
    const done = Promise.withResolvers<Result>();
    waiting.push({ item, done });
    if (!isActing) void actOnAll();
    return done.promise;
  };
}
