/**
 * Answers to prompts that this hub cannot read: an offer of a device, the sealed prompt to it, its sealed events back.
 *
 *   offered ──the prompt, journalled──► running ──sealed.done──► done
 *                                          ├──lost, silent, paused──► lost: its caller tries another device
 *                                          └──refused for good, revoked, too late──► failed
 *
 * Each attempt is a request of its own: only its caller could begin another. `offering.ts` chooses a device and keeps
 * a place on it, `given-offers.ts` knows an offer again, `attempts.ts` has what runs. Here they are put together, and
 * it is asked whether what waits and runs may go on.
 */
import {
  IdlewildError,
  PROMPT_BUCKETS,
  bucketFor,
  messageOf,
  newId,
  type Clock,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import { drain } from '../answers/draining.ts';
import { stoppingError } from '../answers/refusals.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import { endRefused, type Permit } from '../policy/permit.ts';
import { EVERYWHERE } from '../policy/reach.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { barOf } from '../trust/barred.ts';
import { hasRule, textOf, type SealedAttempt } from './attempt.ts';
import { createSealedAttempts, type SealedAttemptsDeps } from './attempts.ts';
import { createGivenOffers, expired, type GivenOffersDeps } from './given-offers.ts';
import { createOffering, type OfferingDeps } from './offering.ts';
import type { SealedAnswers, SealedPrompt } from './port.ts';

export interface SealedDeps
  extends Omit<OfferingDeps, 'running'>, Omit<GivenOffersDeps, 'letGo' | 'vouched'>, SealedAttemptsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly sessions: Pick<Sessions, 'list' | 'get' | 'sealed' | 'revokeLease'>;
  /** A slot is free that somebody else may want. */
  onFree(): void;
  readonly log: Log;
}

/** All bytes that GCM adds to a prompt. */
const TAG_BYTES = 16;
const NOT_ANY_MORE = 'the device may not see such texts any more';

export function createSealed(deps: SealedDeps): SealedAnswers {
  const { clock, random, sessions, trust, log } = deps;
  let sweeper: Timer | undefined;
  let stopping = false;
  const attempts = createSealedAttempts({
    ...deps,
    onFree() {
      offering.pump();
      deps.onFree();
    },
  });
  const offering = createOffering({
    ...deps,
    running: (id) => attempts.list().filter(({ device }) => device.id === id).length,
  });
  const offers = createGivenOffers({ ...deps, letGo: offering.letGo });

  function watch(): void {
    sweeper ??= clock.after(HUB_LIMITS.sweepMs, sweep);
  }

  function sweep(): void {
    sweeper = undefined;
    attempts.sweep(clock.monotonic());
    offering.sweep();
    const onError = (error: unknown): void =>
      log.error({ why: messageOf(error) }, 'whether sealed answers may go on could not be asked');
    const permitOf = ({ permit }: { permit: Permit }): Permit => permit;
    endRefused(attempts.list(), permitOf, (one, { code, message }) => attempts.fail(one, code, message), onError);
    endRefused(offering.requests(), permitOf, (one, refusal) => offering.end(refusal, (each) => each === one), onError);
    Promise.resolve(trust.refresh()).catch(onError);
    // A right for some devices may be for fewer now.
    takeBack(({ permit }) => permit.reach() !== EVERYWHERE);
    if (attempts.size() > 0 || !offering.isIdle()) watch();
  }

  const maySee = (device: ConnectedDevice, { text, permit }: Pick<SealedAttempt, 'text' | 'permit'>): boolean =>
    barOf(device, trust.demandOf(text, permit)) === undefined;

  /** From devices that may see theirs no longer. */
  function takeBack(isOf: (attempt: SealedAttempt) => boolean): void {
    for (const attempt of attempts.list())
      if (isOf(attempt) && !maySee(attempt.device, attempt))
        attempts.lose(attempt, 'consent_refused', NOT_ANY_MORE, true);
  }

  return {
    async offer(request, signal) {
      if (stopping) throw stoppingError();
      const asked = offering.ask(request, signal);
      watch();
      return offers.tell(await asked);
    },
    async submit(offered, prompt, sink) {
      if (stopping) throw stoppingError();
      checkLength(prompt);
      const grant = await offers.redeem(offered);
      const text = textOf(grant);
      const permit = await offered.admit(grant.model.cid, text);
      await trust.refresh();
      const device = sessions.get(grant.device);
      if (device === undefined) throw new IdlewildError('disconnected', 'the device that was offered is gone');
      if (!maySee(device, { text, permit })) throw expired(NOT_ANY_MORE);
      offering.taken(grant.lease);
      const request = newId('req', random);
      const bytes = prompt.sealed.length - TAG_BYTES;
      const attempt = attempts.begin({ request, grant, permit, device, sink, offered, bytes });
      watch();
      await attempts.send(attempt, prompt);
      return { request, cancel: () => attempts.cancel(attempt) };
    },
    async withdraw(offered, rule) {
      if (offered.use === undefined || (rule !== undefined && !hasRule(offered.use, rule)))
        throw new IdlewildError('invalid_request', `"${rule ?? ''}" is no rule that holds for this`);
      const { lease, model } = await offers.redeem(offered);
      offering.letGo(lease);
      throw await offered.refuse(model.name, rule);
    },
    onFrame: attempts.onFrame,
    onGone(device, code, why) {
      offering.onGone(device);
      for (const attempt of attempts.list())
        if (attempt.device.id === device.id) attempts.lose(attempt, code, why, false);
    },
    pump: offering.pump,
    retrust() {
      takeBack(() => true);
      offering.pump();
    },
    counts: () => ({ open: attempts.size(), waiting: offering.waiting() }),
    drain(boundMs) {
      const isOpen = (): boolean => attempts.size() + attempts.ending() + offering.waiting() > 0;
      const close = (): void => {
        stopping = true;
        offering.end(stoppingError());
      };
      return drain({ isOpen, close }, boundMs, clock);
    },
    stop() {
      stopping = true;
      sweeper?.cancel();
      offering.end(stoppingError());
      for (const attempt of attempts.list()) attempts.lose(attempt, 'hub_stopping', 'the hub is stopping', true);
    },
  };
}

/** What is in no bucket tells its length, which its caller may not have meant to. */
function checkLength({ sealed }: SealedPrompt): void {
  const bytes = sealed.length - TAG_BYTES;
  if (bucketFor(bytes, PROMPT_BUCKETS) === bytes) return;
  throw new IdlewildError('invalid_request', `${bytes} bytes are not the length of a padded prompt`);
}
