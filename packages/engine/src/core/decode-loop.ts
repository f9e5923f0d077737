/**
 * Answers side by side: each turn is one run of the decoder for a token of every answer that is being made, and for a
 * piece of the prompts that are still being read.
 *
 * Answers join and leave between runs. A run is sized so that none waits longer than `LIMITS.runMsMax` for another's
 * prompt, or than little more than a step of decoding where that takes longer. Callers take turns: whose prompt was
 * read longest ago is read next, and whose answers are fewest is let in first. Guesses at an answer's next tokens are
 * run where a run has room for them, beside prompts in half of it. Decoding is paced to the tokens per
 * second that the lender allows, over all answers together. Where memory for keys and values ends, what is kept for
 * later goes first, then the answer that came last begins again when there is room; that changes when tokens come,
 * never which.
 */
import { IdlewildError, asIdlewildError, codeOf, createSampler, type AnswerWork, type Clock } from '@idlewild/protocol';
import type { Active } from './active.ts';
import { createChunkSize, type RunCost } from './chunk-size.ts';
import type { Decoder, DecoderPart, Kv } from './decoder.ts';
import type { Duty } from './duty.ts';
import { LIMITS } from './limits.ts';
import type { GrammarLibrary } from './grammar/library.ts';
import { createGuides, type Preparation } from './guides.ts';
import { createNoiseKernel } from './noise-kernel.ts';
import { createPace } from './pace.ts';
import type { EngineEvent } from './port.ts';
import { createPrefixCache } from './prefix-cache.ts';
import { createSequence, type Rows, type Sequence } from './sequence.ts';
import { createSharing, type Sharing } from './sharing.ts';
import type { ModelSettings } from './settings.ts';

export interface DecodeLoopOptions {
  readonly decoder: Decoder;
  readonly settings: ModelSettings;
  readonly contextTokens: number;
  readonly vocabulary?: number | undefined;
  readonly slotsMax: number;
  readonly tokensPerSecondMax?: number | undefined;
  /** Absent: all the time. */
  readonly duty?: Duty | undefined;
  /** False: drafts are not followed, since this decoder's rows differ in many at once. */
  readonly drafts?: boolean | undefined;
  /** As measured at loading. */
  readonly runCost?: RunCost | undefined;
  readonly clock: Clock;
  /** Absent: answers that must follow a form or may call tools are refused. */
  readonly grammars?: GrammarLibrary | undefined;
}

export interface DecodeLoop {
  /** Events come as the port says. Nothing is thrown: a request that cannot be answered is a `failed` event. */
  answer(work: AnswerWork, listen: (event: EngineEvent) => void): { cancel(): void };
}

interface Waiting {
  readonly work: AnswerWork;
  readonly listen: (event: EngineEvent) => void;
  cancelled: boolean;
  sequence: Sequence | undefined;
  /** What its form and tools need; passed on to the sequence, or closed. */
  prepared: Preparation | undefined;
}

/** What one answer may have in a run. */
interface Most {
  readonly rows: number;
  readonly guesses: number;
}

/** One answer's rows in a run. */
interface Member {
  readonly active: Active;
  readonly part: DecoderPart;
}

const guessesIn = ({ part }: Member): number => Math.max(0, part.logitRows - 1);

export function createDecodeLoop(options: DecodeLoopOptions): DecodeLoop {
  const { decoder, clock } = options;
  const waiting: Waiting[] = [];
  /** In order of admission. */
  const active: Active[] = [];
  const chunks = createChunkSize(options.runCost);
  const pace = createPace(options.tokensPerSecondMax, clock);
  const sharing = createSharing(decoder, createPrefixCache(decoder, clock), active);
  const sampler = createSampler(createNoiseKernel());
  const guides = createGuides(options.settings, options.grammars);
  let turn = 0;
  let running = false;
  let wake = (): void => undefined;

  function admit(): void {
    while (active.length < options.slotsMax && waiting.length > 0) {
      const next = takeFair(waiting, active);
      try {
        const begun = begin(next, options, sampler, sharing);
        // Its first event may have made the listener cancel it.
        if (!begun.sequence.isOver && !next.cancelled) active.push({ ...begun, turn });
        else {
          begun.sequence.cancel();
          decoder.release(begun.kv);
        }
      } catch (error) {
        const { code, message } = asEngineError(error, 'reading the request');
        next.listen({ t: 'failed', code, message });
      }
    }
  }

  /** Takes those out that are over; what they ran stays for who comes after. */
  function dismiss(): void {
    for (let i = active.length - 1; i >= 0; i--) {
      const gone = active[i] as Active;
      if (!gone.sequence.isOver) continue;
      active.splice(i, 1);
      sharing.leave(gone);
    }
  }

  /** Makes room for the rows of `part`, at the cost of what is kept and of those who came later; false: not now. */
  function withRoom(own: Active, part: DecoderPart, chosen: readonly Member[]): boolean {
    const positions = part.from + part.ids.length;
    while (!decoder.reserve(own.kv, positions)) {
      if (sharing.evict()) continue;
      const isFree = (each: Active): boolean => each.kv.length > 0 && chosen.every((member) => member.active !== each);
      const youngest = active.findLast(isFree);
      if (youngest === undefined || active.indexOf(youngest) <= active.indexOf(own)) return false;
      decoder.release(youngest.kv);
      youngest.kv = decoder.open();
      youngest.sequence.restart(0);
    }
    return true;
  }

  /** For what is guessed, nobody gives up what is kept or was read. */
  function nextRows({ sequence, kv }: Active, rowsMax: number, guessesMax: number): Rows {
    const rows = sequence.next(rowsMax, guessesMax);
    const isGuessed = rows.logitRows > 1;
    return isGuessed && !decoder.reserve(kv, rows.from + rows.ids.length) ? sequence.next(rowsMax) : rows;
  }

  function memberOf(own: Active, most: Most, chosen: readonly Member[]): Member | undefined {
    const rows = nextRows(own, most.rows, most.guesses);
    const part = { ...rows, kv: own.kv };
    if (withRoom(own, part, chosen)) return { active: own, part };
    if (chosen.length === 0 && active.every((each) => each === own || each.kv.length === 0)) {
      const tokens = rows.from + rows.ids.length;
      const message = `keys and values of ${tokens} tokens do not fit the memory lent to this model`;
      // Not `device_full`, which passes: here the answer never fits, and others are to be asked instead.
      own.sequence.fail(new IdlewildError('engine_failed', message));
    }
    return undefined;
  }

  /** How many guesses each answer may have run: they share what prompts leave them, which is half of it. */
  function guessesOf(inTurn: readonly Active[]): number {
    const drafting = inTurn.filter(({ sequence }) => sequence.isDecoding && sequence.isDrafting).length;
    if (drafting === 0 || options.drafts === false) return 0;
    const decoding = inTurn.filter(({ sequence }) => sequence.isDecoding).length;
    // Who runs one at a time shares no run.
    const [before, share] = decoder.partsMax === 1 ? [1, 1] : [decoding, drafting * (decoding < inTurn.length ? 2 : 1)];
    const room = Math.min(chunks.guesses(inTurn.length > 1), (decoder.rowsMax >> 1) - before);
    return Math.max(0, Math.floor(Math.min(room / share, pace.within(LIMITS.draftPaceMs) / drafting)));
  }

  /** The rows of the next run; none when pace or memory allow none now. */
  function compose(): Member[] {
    const chosen: Member[] = [];
    const inTurn = active.filter((each) => sharing.isReady(each)).sort((a, b) => a.turn - b.turn);
    const rowsMax = Math.min(chunks.rows(inTurn.length > 1), decoder.rowsMax);
    const guesses = guessesOf(inTurn);
    let rows = 0;
    let guessed = 0;
    let isReading = false;
    const take = (own: Active, most: Most): void => {
      const member = memberOf(own, most, chosen);
      if (member === undefined) return;
      chosen.push(member);
      rows += member.part.ids.length;
      guessed += guessesIn(member);
      if (own.sequence.isDecoding) pace.count();
      else isReading = true;
    };
    const takeRows = (own: Active): void => {
      if (own.sequence.isOver || chosen.length >= decoder.partsMax || rows >= decoder.rowsMax) return;
      if (own.sequence.isDecoding) {
        if (pace.waitMs() <= 0) take(own, { rows: 1, guesses });
        return;
      }
      const least = isReading ? 0 : LIMITS.promptRowsMin;
      // Guesses have the time of one half, prompts the rows of the other.
      const room = (guessed > 0 ? rowsMax >> 1 : rowsMax) - (rows - guessed);
      const left = Math.min(decoder.rowsMax - rows, Math.max(room, least));
      if (left > 0) take(own, { rows: left, guesses: 0 });
    };
    // Who runs one at a time gives each its turn, whatever it is for; who runs many makes everybody's token first.
    const first = (own: Active): boolean => decoder.partsMax === 1 || own.sequence.isDecoding;
    for (const own of inTurn) if (first(own)) takeRows(own);
    for (const own of inTurn) if (!first(own)) takeRows(own);
    return chosen;
  }

  async function step(members: readonly Member[]): Promise<void> {
    turn++;
    for (const member of members) member.active.turn = turn;
    const before = clock.monotonic();
    let logits: readonly (readonly Float32Array[])[];
    try {
      logits = await decoder.run(members.map(({ part }) => part));
    } catch (error) {
      const failure = asEngineError(error, 'running the model');
      // What one of them brought must not cost the others: each is run again by itself.
      if (members.length === 1) members[0]?.active.sequence.fail(failure);
      else for (const member of members) if (!member.active.sequence.isOver) await step([member]);
      return;
    }
    const rows = members.reduce((sum, { part }) => sum + part.ids.length, 0);
    const guesses = members.reduce((sum, member) => sum + guessesIn(member), 0);
    if (guesses === 0) chunks.note(rows, clock.monotonic() - before);
    for (const [i, member] of members.entries()) takeIn(member, logits[i] ?? []);
    if (guesses > 0) chunks.noteGuesses(rows, guesses, clock.monotonic() - before);
  }

  function takeIn({ active: own, part }: Member, logits: readonly Float32Array[]): void {
    try {
      const told = own.sequence.advance(part, logits);
      // Its first was counted when its rows were chosen.
      if (told > 1) pace.count(told - 1);
    } catch (error) {
      own.sequence.fail(asEngineError(error, 'choosing a token'));
    } finally {
      // Whoever takes over what is there must find nothing that was only guessed.
      if (part.logitRows > 1) decoder.trim(own.kv, own.sequence.cached);
    }
  }

  async function run(): Promise<void> {
    // Begins after `answer` has returned: a listener may need the handle that it returns.
    await Promise.resolve();
    for (;;) {
      dismiss();
      admit();
      if (active.length === 0) break;
      const members = compose();
      for (const each of active) if (!members.some((member) => member.active === each)) each.sequence.wait();
      const fromMs = clock.monotonic();
      if (members.length > 0) await step(members);
      else if (active.every(({ sequence }) => !sequence.isOver)) await pause(Math.max(1, pace.waitMs()));
      const rest = members.length > 0 ? options.duty?.rest(fromMs) : undefined;
      if (rest === undefined) continue;
      // What has ended holds no memory meanwhile.
      dismiss();
      await rest;
    }
    running = false;
  }

  /** Waits, but not when another answer comes. */
  async function pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = clock.after(ms, resolve);
      wake = () => {
        timer.cancel();
        resolve();
      };
    });
    wake = () => undefined;
  }

  function enqueue(entry: Waiting): void {
    if (entry.cancelled) return entry.prepared?.guide.close();
    waiting.push(entry);
    wake();
    if (running) return;
    running = true;
    void run();
  }

  return {
    answer(work, listen) {
      const entry: Waiting = { work, listen, cancelled: false, sequence: undefined, prepared: undefined };
      const fail = ({ code, message }: IdlewildError): void => {
        if (!entry.cancelled) listen({ t: 'failed', code, message });
      };
      const isFull = waiting.length >= LIMITS.waitingMax;
      const preparing = isFull ? undefined : guides.prepare(work);
      if (isFull) {
        const message = `${waiting.length} answers wait for this engine already`;
        queueMicrotask(() => fail(new IdlewildError('device_full', message)));
      } else if (preparing === undefined) enqueue(entry);
      else {
        preparing.then(
          (prepared) => {
            entry.prepared = prepared;
            enqueue(entry);
          },
          (error: unknown) => fail(asEngineError(error, 'preparing the form of an answer')),
        );
      }
      return {
        cancel() {
          entry.cancelled = true;
          entry.sequence?.cancel();
          const at = waiting.indexOf(entry);
          if (at < 0) return;
          waiting.splice(at, 1);
          entry.prepared?.guide.close();
        },
      };
    },
  };
}

function begin(
  next: Waiting,
  { decoder, settings, clock, contextTokens, vocabulary }: DecodeLoopOptions,
  sampler: ReturnType<typeof createSampler>,
  sharing: Sharing,
): Omit<Active, 'turn'> {
  const { scope } = next.work;
  let kv: Kv | undefined;
  let follows: Active['follows'];
  try {
    const say = (event: EngineEvent): unknown => next.cancelled || next.listen(event);
    const options = {
      settings,
      clock,
      contextTokens,
      vocabulary,
      sampler,
      reuse(tokens: readonly number[]) {
        const found = scope === undefined ? undefined : sharing.find(scope, tokens);
        kv = found?.kv;
        follows = found?.follows;
        return follows?.length ?? kv?.length ?? 0;
      },
    };
    const sequence = createSequence(next.work, say, options, next.prepared);
    next.sequence = sequence;
    return { sequence, scope, kv: kv ?? decoder.open(), follows };
  } catch (error) {
    if (kv !== undefined) decoder.release(kv);
    throw error;
  }
}

/** Takes the next one out: the first of the caller who has fewest answers in the making. */
function takeFair(waiting: Waiting[], active: readonly Active[]): Waiting {
  const load = (entry: Waiting): number => active.filter(({ scope }) => scope === entry.work.scope).length;
  let best = 0;
  for (let i = 1; i < waiting.length; i++) if (load(waiting[i] as Waiting) < load(waiting[best] as Waiting)) best = i;
  return waiting.splice(best, 1)[0] as Waiting;
}

/** What is not ours is the runtime's: the attempt failed, and another device may succeed. */
function asEngineError(thrown: unknown, attempted: string): IdlewildError {
  if (codeOf(thrown) !== undefined) return asIdlewildError(thrown, attempted);
  const message = (thrown as Error).message.slice(0, LIMITS.messageCharactersMax);
  return new IdlewildError('engine_failed', `${attempted}: ${message}`, { cause: thrown });
}
