/** Every bound of the hub, each with its reason. */
export const HUB_LIMITS = {
  /** Sockets that are still proving who they are; each costs at most 64 KiB and two signatures. */
  handshakesMax: 2_000,
  /**
   * Connections that the system holds for a hub that is busy; Linux allows no more. One that finds no room is tried
   * again after one, three and seven seconds, and by then its device has given it up.
   */
  connectionsWaitingMax: 4_096,
  /** All that a device sends before it has proved who it is: two messages of a handshake, and a little around them. */
  unprovedBytesMax: 139_264,
  /** Worked on at the same time: enough that their questions to the database go together. */
  handshakesAtOnce: 64,
  /** Begun and not over: they wait for their devices, who may be slow, or dishonest. */
  handshakesBegunMax: 512,
  /** Who would wait longer than this is sent away: a device gives its handshake up after 10 s. */
  handshakeWaitMsMax: 3_000,
  /**
   * Taken for the pace until one is measured: of a hub that has just started, in a storm. Who is let in too early would
   * not be done before its deadline; who comes a little later than it could loses a moment.
   */
  handshakePaceMs: 5,
  /**
   * Who has said nothing for so long, before its hello or its proof, goes when so many handshakes are open that others
   * would be sent away: half of what a handshake may take, for a machine that is a thousand devices has many to answer.
   */
  handshakeSilentMsMax: 5_000,
  handshakesOpenMany: 512,
  /** Within it a device that has connected says hello, unless this hub is too busy to hear it. */
  handshakeHelloMs: 500,
  /** How much the latest handshake counts in the measured pace. */
  handshakePaceShare: 0.05,
  /** When a device that was not let in comes again: a few balancer's probes later. */
  joinAgainMs: 1_000,
  devicesMax: 100_000,
  /** A device that does not read is dropped before its queue costs more than a few leaves. */
  deviceBufferedBytesMax: 8_388_608,
  /** A caller that does not read its stream is cancelled: about ten minutes of tokens. */
  callerBufferedBytesMax: 1_048_576,
  /** Answers that wait for a device, per territory; beyond it callers get 429 and a time to come back. */
  queuedAnswersMax: 256,
  /** Of devices that could begin an answer at once: enough to find a fast one among. */
  candidatesMax: 256,
  /** Answers open at once per territory, running and waiting. */
  openAnswersMax: 4_096,
  /** How long an answer waits in the queue before its caller is told to come back. */
  queueMsMax: 60_000,
  /** How long an interrupted answer waits for a device to appear. */
  failoverWaitMsMax: 15_000,
  /** The same for one whose replica was lost: its device is on its way back with all others of that replica. */
  takeUpWaitMsMax: 120_000,
  answerMsMax: 600_000,
  /**
   * Attempts of one answer: several deaths are survived, a request that kills every engine is not repeated for ever.
   */
  attemptsMax: 16,
  engineFailuresMax: 4,
  /** Without a token, progress or start for this long an attempt is stalled; scaled up for slow devices. */
  stallMsMin: 3_000,
  stallTokensMax: 40,
  /** Until a device says that it started; loading sends progress. */
  startMsMax: 10_000,
  /**
   * A device that let an answer stall comes last for this long: what stands still looks idle, and would get the next
   * one.
   */
  mistrustMs: 60_000,
  sweepMs: 100,
  /** An attempt over the bus that is silent for this long may have lost a message: its device is asked to repeat. */
  resumeAskMs: 1_000,
  /** Tokens, and ends that nobody waits for, wait at most this long for company: one commit serves many answers. */
  groupCommitMsMax: 20,
  /** Below this load a write does not wait at all. */
  groupCommitGapMs: 4,
  /** Tokens of a stream that come faster than this go to its caller together: nobody reads 125 a second. */
  streamGapMs: 8,
  /** After a failed write (a full disk): how long until the ends of answers are tried again. */
  journalRetryMs: 1_000,
  /** How long the end of a run's answer waits to be written down before its caller hears of it. */
  settleMsMax: 2_000,
  /** How long the opening of an answer waits for a database that is being restarted. */
  journalOpenMsMax: 10_000,
  /** An hour of a full disk; a restart closes what is still open then. */
  journalTriesMax: 3_600,
  /** Of a connection: a handshake is two round trips, and headers are one packet or a few. */
  tlsHandshakeMsMax: 20_000,
  requestHeadersMsMax: 20_000,
  /** The largest body over a line of 256 kbit/s, and what a slow sender can hold a connection and its memory for. */
  requestMsMax: 300_000,
  /** How often connections are looked over for those whose time is up. */
  requestLookMs: 5_000,
  /**
   * Unknown keys, sessions and tickets of one address and replica: a class of which everybody mistypes twice, and far
   * below what a list of guesses needs.
   */
  wrongSecretsPerMinute: 100,
  /**
   * Connections of which nobody knows whose they are, of one address: whoever is there when a campus behind it comes
   * back at once, which is as many as the system holds for a busy hub.
   */
  strangersPerAddressMax: 4_096,
  /** The same of all addresses: each may cost 60 KB with TLS, so 1 GB at the worst. */
  strangersMax: 16_384,
  /** Files for the hub itself: its database, blobs, the bus; never more than a part of what it may open. */
  filesKeptMax: 512,
  filesKeptPart: 0.25,
  /** What a stranger may take to send what it wants and to read what it is told: both are at most some 100 KB. */
  strangerBusyMsMax: 60_000,
  /** Requests on one connection that are not answered; each costs 10 KB, and no client in use sends two. */
  pipelinedMax: 8,
  /** How often the crowd is looked over for those; and how often it is told of. */
  crowdLookMs: 5_000,
  crowdToldMs: 60_000,
  /** That wait while as many of the same address are looked up: a campus that comes back to a hub that just started. */
  guessesWaitingMax: 4_096,
  /** About 200 bytes each. */
  guessersMax: 16_384,
  /** Secrets that have worked, as digests of 64 characters: these go on beside somebody who guesses. */
  workedMax: 16_384,
  /** Before anybody has said who he is: a form, a passkey, a code. */
  publicBodyBytesMax: 65_536,
  /** Pages of other origins that may ask, by name: each is looked up with every request of a page. */
  otherOriginsMax: 64,
  /** How long a browser remembers what such a page may do; who is let in no longer cannot read what is answered. */
  preflightSecondsMax: 600,
  /** JSON body: the longest prompt in UTF-8, escaped. */
  bodyBytesMax: 8_388_608,
  /** A block or leaf in one PUT. */
  blobBodyBytesMax: 2_097_152,
  /** Uploads whose missing leaves are kept in memory; an older one is looked up again. */
  uploadsMax: 256,
  messagesMax: 1_024,
  /** Choices of one request, over all its prompts: as in OpenAI's API, and the wire counts them in seven bits. */
  answersPerRequestMax: 128,
  /** Texts of one request for vectors, as in OpenAI's API. */
  embedInputsMax: 2_048,
  /** Of one part, about a second of a small device: what its loss costs, and what an answer beside it waits for. */
  embedPartInputsMax: 32,
  embedPartBytesMax: 65_536,
  /** A part is late after this many times what it was expected to take, and never before the minimum. */
  embedStallFactor: 10,
  embedStallMsMin: 10_000,
  embedAttemptsMax: 8,
  /** Requests for vectors that are open at once, and their texts together, which are kept in memory. */
  embedsOpenMax: 256,
  embedsOpenBytesMax: 268_435_456,
  /** A place on a device is kept so long for a sealed prompt: two round trips and the sealing on a slow line. */
  offerHoldMs: 5_000,
  /** What a model's template adds to a prompt, at most: a device that counts more does not count. */
  templateTokensMax: 4_096,
  /** After this an offer that waits stands in for the next slot of a device that answers others. */
  offerReserveMs: 1_000,
  /** Of one key, waiting and held: a page of choices, and no caller keeps every device from others. */
  offersPerKeyMax: 16,
  offersWaitingMax: 256,
  /** Who vouches for devices is read anew when something is said of them, and after this. */
  vouchesReadMs: 5_000,
  /** An offer names ids, a model and a class. */
  offerCharactersMax: 2_048,
  /** Devices that a caller says have failed its prompt. */
  offerWithoutMax: 16,
  /** Offers that were used are remembered a little longer than they last, by their number: far more than that come. */
  offersUsedMax: 10_000,
  /** Objects and lists within each other in one JSON Schema: real ones have about twenty. */
  schemaDepthMax: 128,
  /** What a caller may write beside a request: a user, an identifier, a cache key. */
  labelCharactersMax: 512,
  /** A caller that asks under an Idempotency-Key and hangs up has this long to come again before it is cancelled. */
  repeatGraceMs: 30_000,
  /** No answer takes so long: what still says that it runs then was left behind by a database that failed. */
  runMsMax: 3_600_000,
  /** Left behind by a replica with as many callers: of them in one transaction. */
  runsExpiredMax: 256,
  /** A replica that lives answers another's question about a run well within this; one that does not has lost it. */
  runAskMs: 1_500,
  /** Of one that is not believed to live any more. */
  runAskDeadMs: 300,
  /** So long one replica waits for another's next bytes before it asks again: what a lost answer costs. */
  runWaitMs: 1_000,
  /** Bytes of an answer that one replica gives another at once: below a quarter of a second on a slow line. */
  runReplyBytesMax: 262_144,
  /** An answer under an Idempotency-Key is given again for this long after its end. */
  keptAnswerMs: 600_000,
  /** Longer ones can be joined while they run, and are not kept afterwards. */
  keptBytesMax: 8_388_608,
  /** Of one key, the oldest going first: what a caller may make a hub write to its disk. */
  keptBytesPerKeyMax: 16_777_216,
  keptAnswersPerKeyMax: 1_024,
  /** Held in memory while an answer runs, for whoever joins: the most tokens that are asked for, as events. */
  recordedBytesMax: 33_554_432,
  /** A caller that reads nothing of what it asked again loses its connection, and the hub the memory for it. */
  replayStallMsMax: 60_000,
  /** As in OpenAI's API. */
  clientRequestIdCharactersMax: 512,
  idempotencyKeyCharactersMax: 255,
  /** Rows of one look at usage: two years of a key with a model, or a month of forty. */
  usageRowsMax: 10_000,
  /** Requests of ten minutes ago count half: a wave of them moves models, a single one does not. */
  demandHalfLifeMs: 600_000,
  /** What lies where is looked at this often, and never more often than the gap. */
  placementMs: 30_000,
  placementGapMs: 100,
  /** Of a replica's time, at most a tenth goes into looking. */
  placementRestFactor: 10,
  /** What devices hold that are away, so that a restart moves nothing. */
  placesRememberedMax: 10_000,
  /** As devices estimate it, until one has loaded the model. */
  memoryPerModelByte: 1.5,
  /** Passing smaller ones on costs more than it saves. */
  relayLeafBytesMin: 65_536,
  /** Models are read again for a block that is of none: one may have been added through another replica. */
  modelsReadMs: 500,
  /** Leaves of which the hub knows the model: 256 GiB of models, in about 50 MB of memory. */
  indexedLeavesMax: 262_144,
  /** Leaves that are known to be with devices that still fetch: the oldest are with devices that are done by now. */
  givenLeavesMax: 65_536,
  /** One leaf each is held in memory while it is passed on. */
  relaysMax: 64,
  relaysPerDeviceMax: 2,
  /** Parts of one leaf under way at once, so that the way there and back costs half. */
  relayPartsMax: 2,
  /**
   * Parts become smaller on a line that takes longer than this for those under way, and larger again at a third: what
   * an answer's first frame may wait behind. Below the least, frames cost more than they save.
   */
  relayLineMsMax: 60,
  relayPartBytesMin: 16_384,
  /** 64 KiB in this time is slower than any line that is worth asking. */
  relayPartMs: 2_000,
  relayTriesMax: 2,
  /** How long a device waits for a leaf that another is being given, before the hub's store gives it, too. */
  relayPatienceMs: 1_500,
  /** After these a device is asked again. */
  peerBusyMsMax: 5_000,
  peerAbsentMs: 200,
  peerSilentMs: 30_000,
  peerLiedMs: 3_600_000,
  peersLookedAtMax: 64,
  holdersReadMs: 500,
  /** Erased prompts stay in the write-ahead log at most this long. */
  housekeepingMs: 10_000,
  /** Of one replica: PostgreSQL takes a hundred unless told otherwise, and a few replicas leave room for others. */
  databaseConnectionsMax: 10,
  databaseConnectMs: 10_000,
  /** PostgreSQL may start at the same time as the hub does. */
  databaseOpenMs: 15_000,
  databaseOpenGapMs: 250,
  /** The longest statement reads a journal of thousands of answers, in a second. */
  databaseStatementMs: 30_000,
  /** Longer than the server's own limit, for a server that is not there to keep it. */
  databaseSilenceMs: 35_000,
  /** A replica that stands still in the middle of a transaction keeps others waiting no longer than this. */
  databaseIdleTransactionMs: 3_000,
  /** A turn around work that the database does not see, such as deleting the files of a model. */
  turnIdleMsMax: 600_000,
  /** Clocks of machines drift by a millisecond or two in a minute. */
  databaseTimeMs: 10_000,
  databaseTimeOldMs: 60_000,
  /** Of one transaction that PostgreSQL ends for another's sake: each time somebody else has gone on. */
  transactionTriesMax: 16,
  /** A limited key may ask so often under names for each request that it has: one that resumes asks twice. */
  asksPerRequest: 10,
  /** Keys that are known to have no limit: about 100 bytes each. */
  unlimitedKeysMax: 65_536,
  /** A bucket fills in a minute, and a debt of a day is beyond what a key can make at once. */
  bucketForgottenMs: 86_400_000,
  /** A ticket that was overheard is good for no longer, and for no longer than its session. */
  ticketMs: 86_400_000,
  /**
   * Handshakes that a replica begins in a second, and at once: each costs it about a third of a millisecond, so that a
   * storm of them leaves most of a core to answers. Whoever has to wait is told for how long, at most this.
   */
  joinsPerSecond: 1_000,
  joinsBurst: 2_000,
  joinWaitMsMax: 30_000,
  /** Until a device tries again whose next try should land on another replica. */
  joinElsewhereMs: 500,
  /** A replica this much over its share of the devices sends most newcomers elsewhere, at most this part. */
  shareSlack: 0.1,
  shareRefusedMax: 0.75,
  /** So few are nobody's burden, wherever they are. */
  shareDevicesMin: 50,
  /** Part of its devices that a replica sends elsewhere in a minute, and how many at most. */
  movedPerMinute: 0.1,
  movedPerMinuteMax: 600,
  /**
   * From the word to go until the process has ended, where there are other replicas: half of an orchestrator's patience
   * would cut answers short, and the whole of it would have them killed. Balancers look for the first of it.
   */
  drainMs: 30_000,
  drainNoticeMs: 2_000,
  /** Alone there is nowhere to go, and somebody may sit there and wait. */
  drainAloneMs: 5_000,
  /** Devices go one after the other, so that others take them in at an even pace; the last ones may be late. */
  moveEachMs: 5,
  moveLateMs: 1_000,
  /** Devices are sent to other replicas once a minute, if any. */
  rebalanceMs: 60_000,
  /** How the process is gets looked at this often; averages over a second or two decide. */
  loadLookMs: 250,
  /** So late every token is seen to be late; at twice as much nothing new is taken. */
  loopLateMsMax: 150,
  /** A healthy database keeps a row in a few milliseconds. */
  databaseSlowMsMax: 1_000,
  /** Beyond it the process would soon be ended by the system, with everything that is open. */
  memoryPartMax: 0.9,
  /** When who was refused comes again, give or take half. */
  shedRetryMs: 2_000,
  /** What waits for those who do not read, all callers or all devices together; below the last nobody counts. */
  callersBufferedBytesMax: 268_435_456,
  devicesBufferedBytesMax: 536_870_912,
  usuallyBufferedBytes: 65_536,
  /** How soon devices hear that their community has moved; one small read of each replica. */
  movedReadMs: 5_000,
  /** A thousand devices a second are what a hub lets in beside its work. */
  movedPerDeviceMs: 1,
  movedOverMsMax: 60_000,
  /** Devices are written as seen at most this often. */
  touchMs: 60_000,
  /**
   * A duty whose holder was not heard of for this long is another's: three renewals may be lost before. Renewals are
   * spread by a fifth, so that replicas that started together do not write together.
   */
  dutyLeaseMs: 10_000,
  dutyRenewMs: 3_000,
  /** A replica says that it is alive this often, and is believed to be for four times as long. */
  replicaBeatMs: 2_000,
  replicaLiveMs: 8_000,
  /**
   * A replica that went without a word is listed this long, for whoever an alarm has called to look; what became of it
   * is in the logs. One that an orchestrator starts again and again is not to fill the list.
   */
  replicaForgottenMs: 180_000,
} as const;
