/** What is to be done when, in virtual time; things of the same moment in the order in which they were put down. */
export interface Agenda {
  at(atMs: number, act: () => void | Promise<void>): void;
  nextAtMs(): number;
  /** Takes out the next thing to do. */
  take(): (() => void | Promise<void>) | undefined;
}

export function createAgenda(): Agenda {
  const entries: { readonly atMs: number; readonly act: () => void | Promise<void> }[] = [];
  return {
    at(atMs, act) {
      let place = entries.length;
      while (place > 0 && (entries[place - 1]?.atMs ?? 0) > atMs) place--;
      entries.splice(place, 0, { atMs, act });
    },
    nextAtMs: () => entries[0]?.atMs ?? Number.POSITIVE_INFINITY,
    take: () => entries.shift()?.act,
  };
}
