/**
 * Rules of use, as whoever seals a prompt meets them: what the hub says that holds is held against what a pinned
 * steward signed, the prompt is held against its phrases before anything is sealed, and the rest is bound into the seal
 * for the device to judge.
 *
 * A verdict tells the hub one thing of a text that it cannot read; so no rule counts that only the hub says. Of a
 * prompt that a rule speaks against the hub is told the rule's name, so that the refusal is counted and can be appealed
 * against, and nothing else.
 */
import {
  IdlewildError,
  areRulesOver,
  asIdlewildError,
  chatOnly,
  equalBytes,
  openUseRules,
  phraseFault,
  signedUseSchema,
  textsOfPrompt,
  useOrderOf,
  type AnswerWork,
  type Clock,
  type Crypto,
  type SealedOffer,
  type SignedRules,
  type UseOrder,
} from '@idlewild/protocol';
import type { CallOptions, HubConnection } from '../http.ts';
import { newerThan, type SeenRules } from './seen-rules.ts';
import type { Trusted } from './verify.ts';

export interface UseKeeper {
  /**
   * What the prompt is to be sealed under; nothing where nothing holds. Throws `use_refused` with the reason, as the
   * hub does for a prompt in the open; `use_unjudged` for rules that no pinned steward signed (`unsigned` in the
   * details), for older ones than were seen before (`rolled-back`), and for those whose signature has ended (`ended`);
   * `offer_expired` where they changed meanwhile.
   */
  hold(
    prompt: AnswerWork['prompt'],
    offer: Pick<SealedOffer, 'offer' | 'use'>,
    options: Pick<CallOptions, 'signal'>,
  ): Promise<UseOrder | undefined>;
}

export interface UseKeeperDeps {
  readonly connection: Pick<HubConnection, 'json'>;
  readonly trusted: Pick<Trusted, 'stewards' | 'territory'>;
  readonly crypto: Crypto;
  readonly clock: Pick<Clock, 'now'>;
  /** A hub may not go back to rules of before. */
  readonly seen: SeenRules;
}

export function createUseKeeper({ connection, trusted, crypto, clock, seen }: UseKeeperDeps): UseKeeper {
  /** What was read last. */
  let known: SignedRules | undefined;

  async function signedRules(version: number, options: Pick<CallOptions, 'signal'>): Promise<SignedRules> {
    const said = known?.version === version ? known : await readRules(options);
    if (said.version !== version) throw new IdlewildError('offer_expired', 'the rules of use changed meanwhile');
    if (areRulesOver(said, clock.now())) {
      const ended = new Date(said.expiresAtMs ?? 0).toISOString().slice(0, 10);
      throw unjudged('ended', `the steward's signature ended on ${ended}`);
    }
    return said;
  }

  async function readRules({ signal }: Pick<CallOptions, 'signal'>): Promise<SignedRules> {
    const told = signedUseSchema.safeParse(await connection.json('GET', '/api/use', undefined, { signal }));
    if (!told.success || told.data.signed === null) throw unjudged('unsigned', 'no steward signed them');
    const { said, steward } = await openUseRules(told.data.signed, trusted.territory, crypto).catch(
      (thrown: unknown) => {
        throw unjudged('unsigned', asIdlewildError(thrown, 'reading rules of use').message);
      },
    );
    if (!trusted.stewards.some((pinned) => equalBytes(pinned, steward)))
      throw unjudged('unsigned', 'no steward whose key is pinned signed them');
    const newer = await newerThan({ territory: trusted.territory, steward, said }, trusted.stewards, seen);
    if (newer !== undefined)
      throw unjudged(
        'rolled-back',
        `the hub shows version ${said.version}, which a steward signed before version ${newer} that was seen already`,
      );
    return (known = said);
  }

  /** Tells the hub the rule alone; its answer is the refusal. */
  async function refused(
    { rules, version }: SignedRules,
    rule: string | undefined,
    offer: string,
    { signal }: Pick<CallOptions, 'signal'>,
  ): Promise<IdlewildError> {
    const body = { offer, ...(rule === undefined ? {} : { rule }) };
    const told = await connection.json('POST', '/v1/sealed/refusals', body, { signal }).then(
      () => undefined,
      (thrown: unknown) => asIdlewildError(thrown, 'telling of a refusal'),
    );
    if (told?.code === 'use_refused') return told;
    if (rule === undefined) return chatOnly();
    const all = [rules, ...(rules.profiles ?? [])].flatMap((each) => each.rules ?? []);
    const why = all.find(({ id }) => id === rule)?.why ?? `the rule "${rule}"`;
    const message = `this community's rules of use (version ${version}) refuse this: ${why}`;
    return new IdlewildError('use_refused', message, { details: { reason: `rule:${rule}` } });
  }

  return {
    async hold(prompt, { offer, use }, options) {
      if (use === undefined) return undefined;
      const said = await signedRules(use.version, options);
      const order = useOrderOf(said, use);
      if (order === undefined) return undefined;
      const rule = phraseFault(order, textsOfPrompt(prompt));
      if (rule !== undefined) throw await refused(said, rule, offer, options);
      if (order.preambles.length > 0 && prompt.kind === 'text') throw await refused(said, undefined, offer, options);
      return order;
    },
  };
}

type Unjudged = 'unsigned' | 'rolled-back' | 'ended';

const WAY_OUT: Readonly<Record<Unjudged, string>> = {
  unsigned: 'Ask a steward to sign them (idlewild use apply --sign), or ask in the open',
  ended: 'Ask a steward to sign them again (idlewild use sign), or ask in the open',
  'rolled-back':
    'A hub that was restored from an older backup does that, and one that lies: ask a steward, who signs anew with a ' +
    'higher version (idlewild use sign)',
};

const unjudged = (reason: Unjudged, why: string): IdlewildError =>
  new IdlewildError(
    'use_unjudged',
    `this community has rules of use that look at texts, and the hub's word for them is not enough: ${why}; ` +
      `nothing was sent. ${WAY_OUT[reason]}`,
    { details: { reason } },
  );
