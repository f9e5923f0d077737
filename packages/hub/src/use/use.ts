/**
 * Whether a request is one that its community wants: its rules of use, held against what is asked before any device
 * sees it. Every refusal has a reason that can be appealed against. Rules are versioned and held in memory as long as
 * the territory's version stands still; a fresh community has none, and then nothing is looked at.
 *
 * A rule that takes a classifier and cannot be judged, because no device has the classifier, refuses for the moment.
 * Of a sealed prompt no text is here: what holds goes along with it, and where it is read it is judged.
 */
import {
  CHAT_ONLY,
  IdlewildError,
  LIMITS,
  NO_USE_RULES,
  createUseJudge,
  looksAtTexts,
  messageOf,
  reasonOfRule,
  useRulesSchema,
  type ClassifierRule,
  type Clock,
  type MaybePromise,
  type SignedRules,
  type UseAsked,
  type UseFault,
  type UseJudge,
  type UseRules,
} from '@idlewild/protocol';
import { createHash } from 'node:crypto';
import type { Audit } from '../audit/audit.ts';
import type { Database } from '../db/schema.ts';
import { oneAtATime } from '../db/one-at-a-time.ts';
import { actorOf, personOf, type Principal } from '../identity/principal.ts';
import { touchPeople, type PeopleVersions } from '../people/versions.ts';
import type { Permit } from '../policy/permit.ts';
import type { AskedText } from '../trust/text.ts';
import { USE_LIMITS } from './limits.ts';
import type { Refusals } from './refusals.ts';
import { notSigned, sealedUseOf, signatureOf, type SealedUse, type Signature, type Signing } from './sealed-use.ts';

export interface RulesVersion {
  /** 0: nothing was ever said. */
  readonly version: number;
  readonly rules: UseRules;
  readonly createdBy: string | undefined;
  readonly createdAtMs: number | undefined;
  /** A steward's statement of them, in base64url. */
  readonly signed: string | undefined;
}

export interface UseRequest {
  readonly model: string;
  /** What is said of the texts; its cause is the purpose. */
  readonly text: AskedText;
  readonly isSealed?: boolean | undefined;
  /** The asker's leave to be answered: a device that may not answer does not judge either. */
  readonly permit: Permit;
  /** What was written for the model; none where it is sealed. */
  readonly texts: readonly string[];
  /** They are no conversation, and no text can go before them. */
  readonly isCompletion?: boolean | undefined;
}

/** Probabilities of these labels together, for each text. */
export type Classify = (
  rule: ClassifierRule,
  texts: readonly string[],
  as: { readonly asker: Principal; readonly text: AskedText; readonly permit: Permit },
  signal: AbortSignal,
) => Promise<readonly number[]>;

export interface UseChange {
  readonly rules: UseRules;
  readonly actor: string;
  readonly after?: number;
  /** A steward's statement of them, as of the version that they will be. */
  readonly signed?: string | undefined;
}

export interface Use {
  current(): Promise<RulesVersion>;
  /** Newest first. */
  history(): Promise<RulesVersion[]>;
  /** The new version; the old one stays in the history. Throws `conflict` where `after` is not the current one. */
  apply(order: UseChange): Promise<number>;
  /**
   * What a prompt of this asker's that nobody here can read is held to where it is read; nothing where nothing is.
   * Throws `use_unjudged` where something is, and no steward signed it.
   */
  sealedFor(asker: Principal): MaybePromise<SealedUse | undefined>;
  /** Whether encrypted prompts can be held to the rules, as far as it is a steward's word. */
  signature(): Promise<Signature>;
  /** Writes a refusal down that was found elsewhere, by a rule or by none; what to throw. */
  refuse(
    asker: Principal,
    found: { readonly rule: string | undefined; readonly model: string },
  ): Promise<IdlewildError>;
  /**
   * Texts that a conversation of this asker begins with. Throws `use_refused` with the reason and how to appeal;
   * `use_unjudged`, where no device that may answer the asker could judge a rule; what ended the leave meanwhile.
   */
  judge(asker: Principal, request: UseRequest, signal: AbortSignal): MaybePromise<readonly string[]>;
  /** What `judge` would say to somebody in these groups, or with such a key, without a record. */
  tryOut(
    asker: Principal,
    request: UseRequest,
    who: Pick<UseAsked, 'groups' | 'keys'>,
    signal: AbortSignal,
  ): Promise<UseFault | undefined>;
}

export interface UseDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now'>;
  readonly audit: Audit;
  readonly versions: Pick<PeopleVersions, 'fresh' | 'stale'>;
  readonly refusals: Pick<Refusals, 'keep'>;
  /** Names of the groups that somebody is in. */
  readonly groupsOf: (asker: Principal) => MaybePromise<readonly string[]>;
  readonly classify: Classify;
  readonly signing: Signing;
}

/** What holds under one version of the territory. */
interface Holding {
  readonly version: number;
  /** No rule at all: nothing is to be looked at. */
  readonly isEmpty: boolean;
  readonly now: RulesVersion;
  readonly said: SignedRules | undefined;
  readonly judge: UseJudge;
  readonly exemptions: ReadonlyMap<string, readonly { readonly reason: string; readonly untilMs: number | null }[]>;
}

const NO_TEXTS: readonly string[] = [];

export function createUse(deps: UseDeps, territory: string): Use {
  const { db, clock, audit, versions, refusals, groupsOf, classify, signing } = deps;
  let holding: Holding | undefined;

  async function current(): Promise<RulesVersion> {
    const row = await db
      .selectFrom('use_rules')
      .selectAll()
      .where('territory_id', '=', territory)
      .orderBy('version', 'desc')
      .limit(1)
      .executeTakeFirst();
    return row === undefined ? NEVER_SAID : versionOf(row);
  }

  async function read(version: number): Promise<Holding> {
    const now = await current();
    const { rules } = now;
    const rows = await db.selectFrom('use_exemptions').selectAll().where('territory_id', '=', territory).execute();
    const exemptions = Map.groupBy(
      rows.map(({ subject, reason, until_ms: untilMs }) => ({ subject, reason, untilMs })),
      ({ subject }) => subject,
    );
    const isEmpty = Object.keys(rules).length === 1;
    const said = now.signed === undefined ? undefined : await signing.read(now.signed);
    return (holding = { version, isEmpty, now, said, judge: createUseJudge(rules), exemptions });
  }
  async function readFresh(): Promise<Holding> {
    return known(await versions.fresh()) ?? read(await versions.fresh());
  }
  const known = (version: number): Holding | undefined => (holding?.version === version ? holding : undefined);
  function held(): MaybePromise<Holding> {
    const version = versions.fresh();
    return (typeof version === 'number' ? known(version) : undefined) ?? readFresh();
  }

  function exceptionsOf({ exemptions }: Holding, asker: Principal): ReadonlySet<string> {
    const nowMs = clock.now();
    const names = new Set([actorOf(asker), personOf(asker) ?? '']);
    return new Set(
      [...names]
        .flatMap((name) => exemptions.get(name) ?? [])
        .filter(({ untilMs }) => untilMs === null || untilMs > nowMs)
        .map(({ reason }) => reason),
    );
  }

  /** What speaks against it, lists first, then phrases, then what takes a device. */
  async function faultOf(
    { judge }: Holding,
    { asked, except, texts, asker, text, permit }: Judged,
    signal: AbortSignal,
  ): Promise<UseFault | undefined> {
    const listed = judge.faultOf(asked, except) ?? judge.faultOfTexts(texts, asked, except);
    if (listed !== undefined || texts.length === 0) return listed;
    for (const rule of judge.classifiers(asked, except)) {
      const probabilities = await judged(rule, permit, () => classify(rule, texts, { asker, text, permit }, signal));
      if (Math.max(...probabilities) >= rule.threshold) return { reason: reasonOfRule(rule.id), why: rule.why };
    }
    return undefined;
  }

  async function judgeBy(
    by: Holding,
    asker: Principal,
    request: UseRequest,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const asked = { ...askedOf(request, await groupsOf(asker)), keys: keysOf(asker) };
    const except = exceptionsOf(by, asker);
    const preambles = by.judge.preambles(asked);
    const isUnbegun = request.isCompletion === true && preambles.length > 0;
    const chatOnly = isUnbegun && !except.has(CHAT_ONLY.reason) ? CHAT_ONLY : undefined;
    const fault = (await faultOf(by, { ...request, asked, asker, except }, signal)) ?? chatOnly;
    if (fault === undefined) return isUnbegun ? NO_TEXTS : preambles;
    const refusal = await refusals.keep(asker, { reason: fault.reason, model: request.model });
    throw refused(fault, refusal);
  }

  return {
    current,
    async history() {
      const rows = await db
        .selectFrom('use_rules')
        .selectAll()
        .where('territory_id', '=', territory)
        .orderBy('version', 'desc')
        .limit(USE_LIMITS.historyMax)
        .execute();
      return rows.map(versionOf);
    },
    async apply({ rules, actor, after, signed }) {
      const text = JSON.stringify(rules);
      const signedAs = signed === undefined ? undefined : await signing.versionOf(signed, rules);
      const version = await db.transaction().execute(async (transaction) => {
        await oneAtATime(transaction, `use ${territory}`);
        const last = await transaction
          .selectFrom('use_rules')
          .select('version')
          .where('territory_id', '=', territory)
          .orderBy('version', 'desc')
          .limit(1)
          .executeTakeFirst();
        const before = last?.version ?? 0;
        if (after !== undefined && after !== before) {
          const message = `somebody changed the rules of use since version ${after}; they are at ${before}. Look again`;
          throw new IdlewildError('conflict', message);
        }
        const next = signedAs ?? before + 1;
        if (next <= before || next > before + LIMITS.useVersionsSkippedMax)
          throw notSigned(`they were signed as version ${next}, and those that hold are ${before}; sign them again`);
        await transaction
          .insertInto('use_rules')
          .values({
            territory_id: territory,
            version: next,
            rules_json: text,
            signed: signed ?? null,
            created_by: actor,
            created_at_ms: clock.now(),
          })
          .execute();
        await touchPeople(transaction, territory);
        const event = {
          territory,
          actor,
          action: 'changeUse',
          subject: territory,
          details: { version: next, isSigned: signed !== undefined, sha256: digestOf(text) },
        };
        await audit.append(transaction, event);
        return next;
      });
      versions.stale();
      return version;
    },
    sealedFor(asker) {
      const by = held();
      const holdsFor = async (now: Holding): Promise<SealedUse | undefined> =>
        sealedUseOf(
          now,
          { groups: await groupsOf(asker), keys: keysOf(asker) },
          { exceptions: exceptionsOf(now, asker), nowMs: clock.now() },
        );
      if (by instanceof Promise) return by.then((now) => (looksAtTexts(now.now.rules) ? holdsFor(now) : undefined));
      return looksAtTexts(by.now.rules) ? holdsFor(by) : undefined;
    },
    signature: async () => signatureOf(await held(), clock.now()),
    async refuse(asker, { rule, model }) {
      if (rule === undefined) {
        const { reason } = CHAT_ONLY;
        return refused(CHAT_ONLY, await refusals.keep(asker, { reason, model }));
      }
      const { now } = await held();
      const all = [now.rules, ...(now.rules.profiles ?? [])].flatMap(({ rules = [] }) => rules);
      const why = all.find(({ id }) => id === rule)?.why ?? 'a rule of before speaks against it';
      const reason = reasonOfRule(rule);
      return refused({ reason, why }, await refusals.keep(asker, { reason, model }));
    },
    judge(asker, request, signal) {
      const by = held();
      const judgeWith = (now: Holding) => (now.isEmpty ? NO_TEXTS : judgeBy(now, asker, request, signal));
      return by instanceof Promise ? by.then(judgeWith) : judgeWith(by);
    },
    async tryOut(asker, request, { groups, keys }, signal) {
      const judged = { ...request, asked: { ...askedOf(request, groups), keys }, asker, except: new Set<string>() };
      return faultOf(await held(), judged, signal);
    },
  };
}

/** By which profiles name it. What somebody calls her own key is for herself. */
const keysOf = (asker: Principal): readonly string[] => {
  if (asker.kind !== 'key') return [];
  return asker.person === undefined ? [asker.keyId, asker.name] : [asker.keyId];
};

/** Of the JSON that the API gives of them. */
const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

const askedOf = ({ model, text, isSealed }: UseRequest, groups: readonly string[]): UseAsked => ({
  model,
  purpose: text.cause,
  isSealed,
  groups,
});

interface Judged {
  readonly asked: UseAsked;
  readonly texts: readonly string[];
  readonly text: AskedText;
  readonly permit: Permit;
  readonly asker: Principal;
  readonly except: ReadonlySet<string>;
}

const NEVER_SAID: RulesVersion = {
  version: 0,
  rules: NO_USE_RULES,
  createdBy: undefined,
  createdAtMs: undefined,
  signed: undefined,
};

const versionOf = (row: {
  readonly version: number;
  readonly rules_json: string;
  readonly signed: string | null;
  readonly created_by: string;
  readonly created_at_ms: number;
}): RulesVersion => ({
  version: row.version,
  rules: useRulesSchema.parse(JSON.parse(row.rules_json)),
  createdBy: row.created_by,
  createdAtMs: row.created_at_ms,
  signed: row.signed ?? undefined,
});

async function judged<T>({ id, model }: ClassifierRule, permit: Permit, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    // Who may ask no longer is told that, and not of a rule.
    const refusal = await permit.refusal();
    if (refusal !== undefined) throw refusal;
    const message =
      `the rule "${id}" of this community asks the classifier "${model}", which did not answer: ${messageOf(cause)}. ` +
      'Nothing is let past a rule that was not looked at; try again later, or tell a steward';
    throw new IdlewildError('use_unjudged', message, { cause });
  }
}

function refused({ reason, why }: UseFault, refusal: string | undefined): IdlewildError {
  const appeal =
    refusal === undefined
      ? 'you were refused often today; appeal against one of the earlier refusals'
      : `if that is wrong, ask a person to look: idlewild appeals file ${refusal} "why it is wrong"`;
  return new IdlewildError('use_refused', `this community's rules of use refuse this: ${why}. ${capital(appeal)}`, {
    details: {
      reason,
      decidedBy: [reason],
      rolesThatMay: [],
      needed: 'ask otherwise, or appeal against the refusal: idlewild appeals file',
      ...(refusal === undefined ? {} : { refusal }),
    },
  });
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
