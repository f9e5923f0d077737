/**
 * In which order waiting answers are looked at: interrupted ones first, then callers by turns.
 *
 * Whose answers are fewest, running and already in line, is next; among equals who came first. A caller with a hundred
 * questions so has the devices to itself only while nobody else asks; somebody with a hundred keys has no more turns
 * than one with one. Who pays, and what for, is not looked at.
 */
export interface InLine {
  readonly request: {
    readonly territory: string;
    readonly key: string;
    readonly text?: { readonly person?: string | undefined };
  };
  readonly state: { readonly phase: 'queued' | 'running' | 'over'; readonly epoch: number };
}

/** `waiting` in the order of arrival; `open` holds all answers, those that run among them. */
export function inTurn<Item extends InLine>(waiting: readonly Item[], open: Iterable<InLine>): Item[] {
  const callerOf = ({ request }: InLine): string => `${request.territory} ${request.text?.person ?? request.key}`;
  const first = waiting[0] === undefined ? '' : callerOf(waiting[0]);
  // Most of the time there is one caller, or one answer.
  if (waiting.every((item) => callerOf(item) === first)) return [...waiting];
  const counts = new Map<string, number>();
  const count = (item: InLine): number => {
    const before = counts.get(callerOf(item)) ?? 0;
    counts.set(callerOf(item), before + 1);
    return before;
  };
  for (const item of open) if (item.state.phase === 'running') count(item);
  const ranked = waiting.map((item) => ({ item, rank: item.state.epoch > 0 ? -1 : count(item) }));
  return ranked.sort((left, right) => left.rank - right.rank).map(({ item }) => item);
}
