/**
 * Every bound of the lender's rules and of how they are held, each with its reason. What was tried for the figures of
 * noise and holding is in docs/decisions/0031-idleness.md.
 */
export const IDLENESS_LIMITS = {
  /** Below it a person who thinks for a moment has gone; above it a lunch break is not idle. */
  idleMsMin: 5_000,
  idleMsMax: 14_400_000,
  /** Outside these a line of temperature is a slip: Fahrenheit, or one that no machine is below. */
  celsiusMin: 30,
  celsiusMax: 110,
  /** Between the line where power is lowered and the one where all stops; and from there down to where it goes on. */
  celsiusBetweenLines: 10,
  /** The line to leave at is above it, and has to be reachable. */
  chargeMinMax: 0.95,
  /** The list is compared with every process of the machine. */
  programsMax: 64,
  programCharactersMax: 128,

  /** Where a line is left again: of its reading, or beyond it. Between the two lines nothing changes. */
  inputEnterShare: 0.8,
  cpuLeaveShare: 0.6,
  /** A machine of many processors has more programs of its own: below this share of them load is nobody's. */
  cpuShareMin: 0.05,
  /** More processors than this no machine has. */
  coresMax: 4_096,
  gpuLeaveShare: 0.5,
  pressureLeaveShare: 0.3,
  chargeLeaveBy: 0.05,
  memoryLeaveBy: 0.05,

  /**
   * Load is suspected by its mean over about one reading, at which engines stand still, and believed by its mean over
   * some: a program that computes from now on is paused for within 0.7 s, and one that is over within 0.4 s is not.
   */
  suspectedMs: 50,
  believedMs: 300,
  /** What one reading counts for in these means: at rest, with nothing to stop, it takes two of them to be believed. */
  readingMsMax: 400,
  /** In heights. Suspected above what a reading is wrong by; no more when it is hardly beyond; believed for certain. */
  heightSuspected: 1.25,
  heightUnsuspected: 0.75,
  heightBelieved: 1.5,
  /** A third of what a hub calls a stall. What is not believed by then is left to the mean over seconds. */
  haltMsMax: 1_000,
  /** What is dropped at the next reading leaves three quarters of the time to work; who starts meanwhile waits less. */
  haltGapMs: 150,
  /**
   * As far beyond its line again as the line is from where it is left. A card's load is told over a sixth of a second.
   */
  gpuEnterMs: 200,
  /** A sound shorter than this is a notification. */
  audioEnterMs: 2_000,
  /** What is that far beyond its line and is no slip of a sensor or a program that starts. */
  strainEnterMs: 1_000,

  /** Two sources of input that tell by the second, and one of which is late. */
  inputLeaveMs: 2_000,
  /**
   * A plug that has no good contact, a window that is changed for the next, the pause between two songs,
   * a program that was closed and is started again. Within a minute people do not call it over.
   */
  stateLeaveMs: 60_000,
  /** Foreground work comes in bursts. */
  loadLeaveMs: 60_000,
  /** A machine that is hot takes minutes to cool, and memory that ran out runs out again when models come back. */
  strainLeaveMs: 60_000,
  /** Load just beyond its line disturbs hardly anybody, and over short times it is mostly noise. */
  loadSmoothedMs: 4_000,
  /** Temperature, charge and memory change over seconds at least. */
  strainSmoothedMs: 10_000,
  /** How far beyond its lines a reading counts in that mean, in distances between them. */
  heightMin: -1,
  heightMax: 2,
  /** From here on noise may cross the line by itself: work does not begin, and what is left is not left yet. */
  heightNear: 0.5,
  /** The same after a single reading beyond the line: a gap in a song, a sensor that is off by as much. */
  nearMs: 10_000,
  /** One that comes back within this time is believed twice as long the next time, up to 16 times. */
  returnsWithinMs: 600_000,
  doublingsMax: 4,

  /** The share of processors that work keeps just below the upper line of temperature. */
  throttleMin: 0.25,
  /** It goes down faster than a heatsink warms, and up slower than a fan slows down. */
  throttleDownMs: 3_000,
  throttleUpMs: 30_000,
  /** A smaller change is not worth telling. */
  throttleStep: 0.05,

  /** A pause or a resume that is undone sooner was one too many. */
  flapMs: 60_000,
} as const;

export const DRIVER_LIMITS = {
  /** Between readings while something is computed: with what suspicion takes, 250 ms from a load's start to a halt. */
  workingMs: 50,
  /** While nothing is: there is nothing to stop, and a look at the machine costs a millisecond or two. */
  restingMs: 1_000,
  /** Readings that ask other programs take tens of milliseconds; one that takes longer has hung. */
  readMsMax: 2_000,
  /** Readings that hang, each with what it holds open, before no further one is begun. */
  hangingMax: 3,
} as const;
