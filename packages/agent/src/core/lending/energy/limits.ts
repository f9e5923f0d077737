/** Every bound of counting energy, each with its reason. */
export const ENERGY_LIMITS = {
  /**
   * Counters of processors and the accounting of their time move in steps of milliseconds: below it a look says
   * little.
   */
  lookMsMin: 200,
  /** Processor time below which a rate is mostly the coarseness of the system's accounting, which is 10 ms. */
  rateCpuMsMin: 50,
  /**
   * A rate of an earlier look serves pieces of work that are over before the next; later the machine may do other
   * things.
   */
  rateMsMax: 60_000,
  /**
   * Reading a counter takes microseconds, asking a battery milliseconds; a receipt does not wait for one that hangs.
   */
  readMsMax: 200,
  /**
   * A counter of processors goes round once in 262 kJ, which is 10 minutes at 437 W; later it may have gone round
   * twice.
   */
  counterMsMax: 600_000,
  /** A battery tells what it gives at a moment: between two that are further apart anything may have been. */
  batteryMsMax: 60_000,

  /**
   * Engines that compute without having been asked are seen within this time, as what they used: so much of one
   * processor is more than what staying connected takes.
   */
  unaskedMs: 60_000,
  unaskedCpuShare: 0.05,

  /** After work a machine is left alone for this long, and then looked at once: that is what it draws without us. */
  restMs: 30_000,
  /** A rest that is shorter is still what fans and turbo do after work. */
  restMsMin: 10_000,
  /** Of one processor, what a device that rests uses for staying connected. */
  restCpuShare: 0.02,
  /** Rests that are remembered; the calmest of them counts, so that other programs' work is not taken for idling. */
  restsMax: 8,

  /** What was counted is lost at most for this long by a power cut, and a disk is not worn out by it. */
  writeMs: 60_000,
  /** No machine that lends draws more for one day; a file that says so is damaged. */
  wattHoursPerDayMax: 1_000_000,
  /** A day is called measured where no more of it than this was modelled, as its first minutes are. */
  modelledShareMax: 0.05,

  /** Nothing that people lend draws more; a slip in `lending.json` is told. */
  wattsMax: 10_000,
  /** The dirtiest grid of the table has 1,306 g/kWh; a generator that burns oil has less than this. */
  gramsPerKwhMax: 2_000,
} as const;
