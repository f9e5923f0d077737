/**
 * About what each piece of work has cost so far that still runs: what the device drew meanwhile, in equal parts for
 * those that ran. It knows nothing of which engine drew it; the receipt at the end goes by what the engine counted.
 */

export interface RunningCost {
  /**
   * What a piece had cost by now that had run from the first moment on. `running`: how many have run since this was
   * asked the last time; whoever begins or ends one has to ask before that number changes.
   */
  each(running: number): number;
}

/** `drawn`: watt-hours of the device until now. */
export function createRunningCost(drawn: () => number): RunningCost {
  let seen = drawn();
  let sum = 0;
  return {
    each(running) {
      const now = drawn();
      if (running > 0) sum += (now - seen) / running;
      seen = now;
      return sum;
    },
  };
}
