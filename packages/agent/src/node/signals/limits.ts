/** Bounds of reading the machine's signals, each with its reason. */
export const SIGNAL_LIMITS = {
  /** Of one file of /proc or /sys: /proc/stat of a machine with a thousand processors has 200 KB. */
  fileBytesMax: 262_144,
  /** A folder of /proc or /dev; a machine with more processes than this is a server, and is looked at in part. */
  entriesMax: 32_768,
  /** A command that has not answered by then hangs; it is killed, and what it would have said is not known. */
  commandMsMax: 4_000,
  /** `ps` of a machine with ten thousand processes. */
  commandBytesMax: 1_048_576,
  /** Of a program that reports line by line for as long as we run. */
  lineBytesMax: 65_536,
  /** Such a program that dies is started again after this, each time later, up to ten times as late. */
  restartMs: 30_000,
  /** One answer of the display or of a bus; both are on this machine and answer within a millisecond. */
  answerMsMax: 1_000,
  /** Of what they send as one message: a list of sessions has a few hundred bytes, a list of counters some thousand. */
  messageBytesMax: 1_048_576,
  /** Requests without an answer. We ask for a few things a second, so more of them is a peer that has stopped. */
  requestsMax: 64,
  /** A display or bus that is not there is looked for this often: somebody may log in. */
  reconnectMs: 30_000,

  /** Readings come every 50 ms while we work: over longer, load of the foreground would be seen too late to yield. */
  cpuWindowMsMin: 40,
  /** Threads of each own process that are asked for children, this often; in between, main threads only. */
  treeWalkMs: 10_000,
  processesMax: 4_096,
  /** Displays, desktops and terminals: input is told at once where that is possible, and this is for the rest. */
  screenEveryMs: 500,
  memoryEveryMs: 1_000,
  /** A card's driver says its load over about this long. */
  graphicsEveryMs: 160,
  /** Programs' own counts grow when a piece of their work ends, and a few dozen files are read for them. */
  graphicsClientsEveryMs: 1_000,
  /** Temperatures, battery and sound cards ask hardware, which can take milliseconds. */
  sensorsEveryMs: 5_000,
  /** Which sensors, cards and screens there are: they are plugged in and out by hand. */
  discoveryEveryMs: 60_000,
  /** The list of programs is read from every process of the machine. */
  programsEveryMs: 10_000,
  /** Screen lock and sessions: a bus answers several times in less than a millisecond. */
  sessionsEveryMs: 2_000,
  networkEveryMs: 30_000,
  commandsEveryMs: 10_000,
  /** `ioreg` alone tells input on macOS, so it is asked more often than other commands. */
  inputCommandEveryMs: 5_000,
  /** `nvidia-smi` takes tens of milliseconds of processor time. */
  nvidiaEveryMs: 30_000,
  /** What was read longer ago than this many rounds is forgotten rather than told as if it were now. */
  roundsKept: 3,

  /** Input is noticed after at most this, where events have to be asked for; cheaper than a thread that waits. */
  eventsEveryMs: 100,
  eventDevicesMax: 64,
  /** Alarms go off when somebody comes back after at least this long; while somebody types, polling tells. */
  awayMs: 1_000,
  /** Outside these a sensor is broken or counts in other units, °C. */
  celsiusMin: 1,
  celsiusMax: 130,
  sensorsMax: 64,
} as const;
