/**
 * Answers to prompts that this hub cannot read: an offer of a device, the sealed prompt to it, its sealed events back.
 *
 *   offered ──the prompt, journalled──► running ──sealed.done──► done
 *                                          ├──lost, silent, paused──► lost: its caller tries another device
 *                                          └──refused for good, revoked, too late──► failed
 *
 * Each attempt is a request of its own: only its caller could begin another. What is written down is that it was, how
 * it ended and what it used, as its device counts it. A frame that does not carry the current lease and epoch, or the
 * next number, changes nothing or ends the attempt.
 */
import {
  IdlewildError,
  PROMPT_BUCKETS,
  bucketFor,
  encodeCbor,
  hex,
  isErrorCode,
  messageOf,
  newId,
  utf8,
  type Clock,
  type Crypto,
  type ErrorCode,
  type Random,
  type SealedDone,
  type SealedFailed,
  type SealedPart,
  type Timer,
  type UseOrder,
} from '@idlewild/protocol';
import type { AnswerMeter } from '../answers/port.ts';
import type { Journal } from '../answers/journal/journal.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { Placement } from '../placement/placement.ts';
import { endRefused, type Permit } from '../policy/permit.ts';
import { EVERYWHERE } from '../policy/reach.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { barOf } from '../trust/barred.ts';
import { sortOf, type AskedText } from '../trust/text.ts';
import type { Trust } from '../trust/trust.ts';
import { createOfferTokens, type Grant } from './offer-token.ts';
import { createOffering } from './offering.ts';
import type { Offer, Offered, SealedAnswers, SealedPrompt, SealedSink } from './port.ts';
import type { SealedReceipts } from './receipts.ts';
import { createSealedSpend, type SealedSpend } from './spend.ts';
import type { Vouched } from './vouched.ts';

export interface SealedDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  /** Of all replicas, for offers alone; 32 bytes. */
  readonly key: Uint8Array;
  /** The database's, which is the same on all replicas. */
  readonly wallClock: Pick<Clock, 'now'>;
  readonly sessions: Pick<Sessions, 'list' | 'get' | 'sealed' | 'revokeLease'>;
  readonly journal: Pick<Journal, 'open' | 'close'>;
  readonly meter: AnswerMeter;
  readonly placement?: Pick<Placement, 'asked' | 'isComing'> | undefined;
  readonly trust: Pick<Trust, 'refresh' | 'demandOf'>;
  readonly vouched: Vouched;
  readonly receipts: SealedReceipts;
  /** A slot is free that somebody else may want. */
  onFree(): void;
  readonly log: Log;
}

interface Running {
  readonly request: string;
  readonly grant: Grant;
  /** Its right to be answered, asked again while it is. */
  readonly permit: Permit;
  readonly text: AskedText;
  readonly device: ConnectedDevice;
  readonly sink: SealedSink;
  /** What it is held to, and who writes a refusal down. */
  readonly use: UseOrder | undefined;
  readonly refuse: (rule: string | undefined) => Promise<IdlewildError>;
  readonly startedAtMs: number;
  /** Silence for so long is a stall. */
  readonly stallMs: number;
  progressAtMs: number;
  started: boolean;
  /** Number of the next event. */
  next: number;
  /** Of the sealed prompt. */
  readonly promptBytes: number;
  /** No token is made of less than a byte, of the prompt or of how the community begins it; a template adds few. */
  readonly promptTokensMax: number;
  readonly spend: SealedSpend;
  promptTokens: number;
  cachedTokens: number;
  tokens: number;
  over: boolean;
  silenced: boolean;
}

interface Begun {
  readonly request: string;
  readonly sink: SealedSink;
  readonly offered: Pick<Offered, 'use' | 'refuse' | 'hold'>;
  /** Of the prompt, padded. */
  readonly bytes: number;
}

/** All bytes that GCM adds to a prompt. */
const TAG_BYTES = 16;
const NOTHING_TO_READ = { prompt: { kind: 'text', text: '' }, sampling: { seed: 0 }, choice: 0, stop: [] } as const;

/** Another device would say the same. */
const FINAL: ReadonlySet<ErrorCode> = new Set([
  'invalid_request',
  'unsupported_field',
  'context_length_exceeded',
  'model_unsupported',
  'use_refused',
  'use_unjudged',
]);

const NOT_ANY_MORE = 'the device may not see such texts any more';

export function createSealed(deps: SealedDeps): SealedAnswers {
  const { clock, sessions, journal, meter, log } = deps;
  const tokens = createOfferTokens(deps);
  const running = new Map<string, Running>();
  /** Leases of offers that were used here, oldest first. */
  const used = new Set<string>();
  let sweeper: Timer | undefined;
  /** Ends that wait for their receipts. */
  let ending = 0;
  let stopping = false;
  const offering = createOffering({
    ...deps,
    running: (id) => [...running.values()].filter(({ device }) => device.id === id).length,
  });

  function watch(): void {
    sweeper ??= clock.after(HUB_LIMITS.sweepMs, sweep);
  }

  function sweep(): void {
    sweeper = undefined;
    const nowMs = clock.monotonic();
    for (const run of [...running.values()]) {
      const silentMs = nowMs - run.progressAtMs;
      const allowedMs = run.started ? run.stallMs : Math.max(run.stallMs, HUB_LIMITS.startMsMax);
      if (nowMs - run.startedAtMs >= HUB_LIMITS.answerMsMax)
        fail(run, 'deadline_exceeded', `not done within ${HUB_LIMITS.answerMsMax / 1_000} s`);
      else if (silentMs >= allowedMs) {
        run.device.mistrustedUntilMs = nowMs + HUB_LIMITS.mistrustMs;
        lose(run, 'stalled', `the device was silent for ${Math.round(silentMs)} ms`, true);
      }
    }
    offering.sweep();
    const onError = (error: unknown): void =>
      log.error({ why: messageOf(error) }, 'whether sealed answers may go on could not be asked');
    const permitOf = ({ permit }: { permit: Permit }): Permit => permit;
    endRefused(running.values(), permitOf, (run, { code, message }) => fail(run, code, message), onError);
    endRefused(offering.requests(), permitOf, (one, refusal) => offering.end(refusal, (each) => each === one), onError);
    Promise.resolve(deps.trust.refresh()).catch(onError);
    // A right for some devices may be for fewer now.
    takeBack(({ permit }) => permit.reach() !== EVERYWHERE);
    if (running.size > 0 || !offering.isIdle()) watch();
  }

  const maySee = (device: ConnectedDevice, { text, permit }: Pick<Running, 'text' | 'permit'>): boolean =>
    barOf(device, deps.trust.demandOf(text, permit)) === undefined;

  /** From devices that may see theirs no longer. */
  function takeBack(isOf: (run: Running) => boolean): void {
    for (const run of [...running.values()])
      if (isOf(run) && !maySee(run.device, run)) lose(run, 'consent_refused', NOT_ANY_MORE, true);
  }

  /** Takes the lease back and writes down how it ended; false when that has happened. */
  function close(
    run: Running,
    state: 'done' | 'failed' | 'cancelled',
    reason: ErrorCode | undefined,
    { energyWh, receipt }: Ended = {},
  ): boolean {
    if (run.over) return false;
    run.over = true;
    const { request, grant, device, tokens: answerTokens, cachedTokens } = run;
    running.delete(grant.lease);
    device.leases.delete(grant.lease);
    const ms = clock.monotonic() - run.startedAtMs;
    const { promptTokens } = run;
    const counts = { promptTokens, cachedTokens: Math.min(cachedTokens, promptTokens), answerTokens };
    const end = { request, state, reason, ...counts, deviceMs: ms, failovers: 0, exact: true, ...drawn(energyWh) };
    const { lease, epoch } = grant;
    const written =
      receipt?.then((statement) =>
        journal.close(
          statement === undefined ? end : { ...end, receipt: { lease, epoch, device: device.id, statement } },
        ),
      ) ?? journal.close(end);
    written.catch((error: unknown) =>
      log.error({ request, why: messageOf(error) }, 'the end of an answer was not written'),
    );
    meter.ended(state, reason ?? 'none', { tokens: answerTokens, ms, failovers: 0 });
    pump();
    deps.onFree();
    return true;
  }

  function revoke({ device, grant }: Running): void {
    if (sessions.get(device.id) === device) sessions.revokeLease(device, grant.lease, grant.epoch);
  }

  function lose(run: Running, code: ErrorCode, why: string, tellDevice: boolean): void {
    if (tellDevice && !run.over) revoke(run);
    // What another device has to read again is charged where it is read to good purpose.
    if (!run.over) run.promptTokens = 0;
    if (!close(run, 'failed', code)) return;
    log.info({ request: run.request, device: run.device.id, code, why }, 'a sealed answer was lost');
    if (!run.silenced) run.sink.lost(code, why);
  }

  function fail(run: Running, code: ErrorCode, why: string, more?: { n: number; sealed: Uint8Array }): void {
    if (more === undefined && !run.over) revoke(run);
    if (close(run, 'failed', code) && !run.silenced) run.sink.failed(new IdlewildError(code, why), more);
  }

  function pump(): void {
    offering.pump();
  }

  function onPart(run: Running, event: SealedPart | SealedDone): void {
    const isStart = event.n === 0;
    const isCounted = event.tokens === run.tokens || event.tokens === run.tokens + 1;
    if (event.n !== run.next || !isCounted || (isStart && event.promptTokens === undefined))
      return lose(run, 'frame_invalid', `it sent event ${event.n} where event ${run.next} was due`, true);
    if ((event.promptTokens ?? 0) > run.promptTokensMax)
      return lose(run, 'frame_invalid', `it counts ${event.promptTokens} tokens in ${run.promptBytes} bytes`, true);
    run.next++;
    if (isStart) {
      run.started = true;
      run.promptTokens = event.promptTokens ?? 0;
      run.cachedTokens = 'cachedTokens' in event ? (event.cachedTokens ?? 0) : 0;
    }
    if (run.tokens === 0 && event.tokens === 1) meter.firstToken(clock.monotonic() - run.startedAtMs);
    run.tokens = event.tokens;
    if (event.t === 'sealed.done') return done(run, event);
    if (!run.spend.covers(run.promptTokens + run.tokens)) return fail(run, 'spend_cap', overCap(run));
    if (!run.silenced) run.sink.part(event.n, event.sealed);
    return undefined;
  }

  function done(run: Running, { n, sealed, commitment, energy }: SealedDone): void {
    if (commitment === undefined) {
      if (close(run, 'done', undefined, { energyWh: energy?.wattHours }) && !run.silenced) run.sink.done(n, sealed);
      return;
    }
    const { request, promptBytes, promptTokens, tokens: made, device } = run;
    const { lease, epoch, model, dataClass } = run.grant;
    const asked = { request, device: device.id, lease, epoch, model: model.cid, modelName: model.name, dataClass };
    const order = { ...asked, promptBytes, promptTokens, tokens: made, commitment, energy };
    const receipt = deps.receipts.issue(order);
    ending++;
    close(run, 'done', undefined, { energyWh: energy?.wattHours, receipt });
    void receipt.then((statement) => {
      ending--;
      if (!run.silenced) run.sink.done(n, sealed, statement);
    });
  }

  function onFailed(run: Running, event: SealedFailed): void {
    const code = isErrorCode(event.code) ? event.code : 'engine_failed';
    if (code === 'use_refused') return onRefused(run, event.rule);
    if (!FINAL.has(code)) {
      if (code === 'consent_refused') run.device.refusals.add(sortOf(run.text));
      else if (code !== 'sealed_unopened') run.device.contradicted = true;
      return lose(run, code, event.message, false);
    }
    const { n, sealed } = event;
    return fail(run, code, event.message, n === undefined || sealed === undefined ? undefined : { n, sealed });
  }

  /** A rule by which it was not asked to refuse is no reason. */
  function onRefused(run: Running, rule: string | undefined): void {
    const isRight = run.use !== undefined && (rule === undefined || hasRule(run.use, rule));
    if (!isRight) return lose(run, 'frame_invalid', 'it refused by a rule of its own', false);
    if (!close(run, 'failed', 'use_refused') || run.silenced) return undefined;
    run.refuse(rule).then(
      (error) => run.sink.failed(error),
      (error: unknown) => {
        log.error({ request: run.request, why: messageOf(error) }, 'a refusal was not written down');
        run.sink.failed(new IdlewildError('use_refused', "this community's rules of use refuse this"));
      },
    );
    return undefined;
  }

  const stoppingError = (): IdlewildError =>
    new IdlewildError('hub_stopping', 'the hub is stopping; try again in a moment');

  const digestOf = async (use: UseOrder | undefined): Promise<string | undefined> =>
    use === undefined ? undefined : hex(await deps.crypto.sha256(encodeCbor(use)));

  async function grantOf(offered: Pick<Offered, 'token' | 'territory' | 'caller' | 'use'>): Promise<Grant> {
    const grant = await tokens.read(offered.token);
    const isOwn = grant?.territory === offered.territory && grant.caller === offered.caller;
    if (grant === undefined || !isOwn) throw expired('this is no offer of this hub to this key');
    if (deps.wallClock.now() > grant.expiresAtMs) throw expired('the offer is over');
    const use = await digestOf(offered.use);
    if (use !== grant.use) {
      offering.letGo(grant.lease);
      throw expired('the rules of use are others now');
    }
    if (used.has(grant.lease)) throw expired('the offer was used');
    used.add(grant.lease);
    if (used.size > HUB_LIMITS.offersUsedMax) used.delete(used.values().next().value as string);
    return grant;
  }

  function begin(grant: Grant, permit: Permit, device: ConnectedDevice, to: Begun): Running {
    const speed = device.status.models.find(({ cid }) => cid === grant.model.cid)?.tokensPerSecond ?? 1;
    const msPerToken = (1_000 * Math.max(1, device.leases.size)) / Math.max(speed, Number.MIN_VALUE);
    const nowMs = clock.monotonic();
    const { request, sink, offered } = to;
    return {
      request,
      grant,
      permit,
      use: offered.use,
      refuse: (rule) => offered.refuse(grant.model.name, rule),
      text: { dataClass: grant.dataClass, cause: grant.cause, person: grant.person },
      device,
      sink,
      startedAtMs: nowMs,
      stallMs: Math.max(HUB_LIMITS.stallMsMin, HUB_LIMITS.stallTokensMax * msPerToken),
      progressAtMs: nowMs,
      started: false,
      next: 0,
      promptBytes: to.bytes,
      promptTokensMax: to.bytes + bytesBegun(offered.use) + HUB_LIMITS.templateTokensMax,
      spend: createSealedSpend(offered.hold),
      promptTokens: 0,
      cachedTokens: 0,
      tokens: 0,
      over: false,
      silenced: false,
    };
  }

  return {
    async offer(request, signal): Promise<Offer> {
      if (stopping) throw stoppingError();
      const asked = offering.ask(request, signal);
      watch();
      const { device, lease, epoch, numericClass } = await asked;
      const { territory, caller, model } = request;
      const { dataClass, cause, person } = request.text;
      const expiresAtMs = deps.wallClock.now() + HUB_LIMITS.offerHoldMs;
      const use = await digestOf(request.use);
      const said = { ...(cause === undefined ? {} : { cause }), ...(use === undefined ? {} : { use }) };
      const to = { territory, caller, model, dataClass, ...said, person };
      return {
        token: await tokens.write({ lease, epoch, device: device.id, expiresAtMs, ...to }),
        lease,
        epoch,
        device: { id: device.id, name: device.name, key: device.publicKey },
        agreementKey: device.agreementKey,
        vouch: deps.vouched.chainOf(device) ?? [],
        numericClass,
        holdMs: HUB_LIMITS.offerHoldMs,
      };
    },
    async submit(offered, prompt, sink) {
      if (stopping) throw stoppingError();
      checkLength(prompt);
      const grant = await grantOf(offered);
      const { lease, epoch, model, dataClass, cause, person, territory, caller } = grant;
      const text = { dataClass, cause, person };
      const permit = await offered.admit(model.cid, text);
      await deps.trust.refresh();
      const device = sessions.get(grant.device);
      if (device === undefined) throw new IdlewildError('disconnected', 'the device that was offered is gone');
      if (!maySee(device, { text, permit })) throw expired(NOT_ANY_MORE);
      offering.taken(lease);
      device.leases.add(lease);
      const request = newId('req', deps.random);
      const run = begin(grant, permit, device, { request, sink, offered, bytes: prompt.sealed.length - TAG_BYTES });
      running.set(lease, run);
      watch();
      try {
        const work = { ...NOTHING_TO_READ, stop: [] };
        const hold = offered.hold?.id;
        await journal.open({ request, territory, key: caller, model: model.cid, work, text, hold });
      } catch (error) {
        run.over = true;
        running.delete(lease);
        revoke(run);
        throw error;
      }
      // It may have been lost, or cancelled, while it was written down.
      if (!run.over) {
        const purpose = { dataClass, ...(cause === undefined ? {} : { cause }) };
        const deadlineMs = HUB_LIMITS.answerMsMax;
        run.progressAtMs = clock.monotonic();
        const held = offered.use === undefined ? {} : { use: offered.use };
        sessions.sealed(device, { lease, epoch, model: model.cid, ...purpose, ...prompt, ...held, deadlineMs });
      }
      return {
        request,
        cancel() {
          run.silenced = true;
          if (run.over) return;
          revoke(run);
          close(run, 'cancelled', 'cancelled');
        },
      };
    },
    async withdraw(offered, rule) {
      if (offered.use === undefined || (rule !== undefined && !hasRule(offered.use, rule)))
        throw new IdlewildError('invalid_request', `"${rule ?? ''}" is no rule that holds for this`);
      const { lease, model } = await grantOf(offered);
      offering.letGo(lease);
      throw await offered.refuse(model.name, rule);
    },
    onFrame(device, event) {
      const run = running.get(event.lease);
      if (run === undefined || run.device.id !== device.id || run.grant.epoch !== event.epoch) return;
      run.progressAtMs = clock.monotonic();
      if (event.t === 'sealed.failed') onFailed(run, event);
      else if (event.t !== 'sealed.progress') onPart(run, event);
    },
    onGone(device, code, why) {
      offering.onGone(device);
      for (const run of [...running.values()]) if (run.device.id === device.id) lose(run, code, why, false);
    },
    pump,
    retrust() {
      takeBack(() => true);
      pump();
    },
    counts: () => ({ open: running.size, waiting: offering.waiting() }),
    async drain(boundMs) {
      const endsAtMs = clock.monotonic() + boundMs;
      const isOpen = (): boolean => running.size + ending + offering.waiting() > 0;
      while (isOpen() && clock.monotonic() < endsAtMs) {
        // Who has a connection here may still ask on it, as long as there is time to answer.
        stopping ||= clock.monotonic() > endsAtMs - boundMs / 2;
        if (stopping) offering.end(stoppingError());
        await new Promise<void>((resolve) => clock.after(HUB_LIMITS.sweepMs, resolve));
      }
      stopping = true;
    },
    stop() {
      stopping = true;
      sweeper?.cancel();
      offering.end(stoppingError());
      for (const run of [...running.values()]) lose(run, 'hub_stopping', 'the hub is stopping', true);
    },
  };
}

/** Of what the community lets its conversation begin with. */
const bytesBegun = (use: UseOrder | undefined): number =>
  (use?.preambles ?? []).reduce((sum, text) => sum + utf8(text).length, 0);

const hasRule = ({ phrases, classifiers }: UseOrder, rule: string): boolean =>
  [...phrases, ...classifiers].some((each) => each.rule === rule);

interface Ended {
  readonly energyWh?: number | undefined;
  /** Kept as what its device gave; never rejects, and holds nothing where none could be signed. */
  readonly receipt?: Promise<Uint8Array | undefined> | undefined;
}

const drawn = (energyWh: number | undefined) => (energyWh === undefined ? {} : { energyWh });

const overCap = ({ tokens }: Running): string =>
  `what may be spent is used up, so the answer was stopped after ${tokens} tokens; ` +
  'its caps are in GET /api/spending, and a steward changes them';

const expired = (why: string): IdlewildError => new IdlewildError('offer_expired', `${why}; take a new one`);

/** What is in no bucket tells its length, which its caller may not have meant to. */
function checkLength({ sealed }: SealedPrompt): void {
  const bytes = sealed.length - TAG_BYTES;
  if (bucketFor(bytes, PROMPT_BUCKETS) === bytes) return;
  throw new IdlewildError('invalid_request', `${bytes} bytes are not the length of a padded prompt`);
}
