/** What the database and the processes hold at one moment, for the checkers: facts, not judgements. */
import {
  copyLines,
  openStatement,
  receiptSchema,
  sealedReceiptSchema,
  verifyCopy,
  type AuditRecord,
  type Receipt,
  type SealedReceipt,
} from '@idlewild/protocol';
import type { ConnectedDevice, Hub } from '@idlewild/hub';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { World } from './world.ts';

type Awaitable<Value> = Value extends Promise<infer Inner> ? Inner : never;
type AuditEntry = Awaitable<ReturnType<Hub['audit']['list']>>[number];

export interface RequestRow {
  readonly id: string;
  readonly state: 'open' | 'done' | 'failed' | 'cancelled';
  readonly reason: string | null;
  readonly prompt_tokens: number;
  readonly answer_tokens: number;
  readonly failovers: number;
  readonly exact: 0 | 1;
}

export interface ReceiptRow {
  readonly lease: string;
  readonly request_id: string;
  readonly device_id: string;
  readonly epoch: number;
  /** `undefined` when it does not verify under the device's key. */
  readonly said: Receipt | undefined;
  /** Of an answer that the hub could not read: what it signed itself, in place of its device. */
  readonly sealed: SealedReceipt | undefined;
}

export interface SpendingRows {
  /** Ids of holds. */
  readonly holds: readonly string[];
  /** By kind and subject. */
  readonly days: readonly {
    readonly name: string;
    readonly day: number;
    readonly tokens: number;
    readonly held: number;
  }[];
  readonly allocations: readonly { readonly id: string; readonly spent: number; readonly held: number }[];
}

export interface Snapshot {
  /** `recovered`: a hub has just started. `rest`: nothing is asked any more, and all faults are over. */
  readonly when: 'recovered' | 'rest';
  readonly requests: readonly RequestRow[];
  readonly journalRows: number;
  /** Requests under Idempotency-Keys that go on, or would if their callers came. */
  readonly runs: number;
  /** What is held and spent, where there are members. */
  readonly spending: SpendingRows | undefined;
  /** How the sums of usage differ from the requests. */
  readonly usage: string | undefined;
  readonly receipts: readonly ReceiptRow[];
  /** Oldest first. */
  readonly audit: readonly AuditEntry[];
  /** Why the chain is broken, or what is wrong with the heads that were signed over it. */
  readonly auditBroken: string | undefined;
  readonly enrolled: readonly string[];
  readonly open: number;
  readonly queued: number;
  /** Sealed answers that hubs believe to be running. */
  readonly sealedOpen: number;
  /** Leases that the hub has given and not taken back, each with its device. */
  readonly leases: readonly string[];
  /** Answers that agents believe to be running. */
  readonly answering: number;
  /** Devices that should be connected with a warm model and are not, each with what it is instead. */
  readonly missing: readonly string[];
  /** Devices that a replica sees otherwise than they are. */
  readonly mirrors: readonly string[];
  /** Models that nobody holds although there is room for them, each with where. */
  readonly homeless: readonly string[];
  /** Devices that must not be connected and are. */
  readonly intruders: readonly string[];
}

const AUDIT_PAGE = 1_000;

export async function takeSnapshot(world: World, when: Snapshot['when']): Promise<Snapshot> {
  const process = world.process();
  if (process === undefined) throw new Error('there is no hub to look into');
  const { hub } = process;
  const territory = hub.territory.id;
  const requests = await hub.db
    .selectFrom('requests')
    .selectAll()
    .where('territory_id', '=', territory)
    .orderBy('id')
    .execute();
  const journal = await hub.db
    .selectFrom('journal')
    .select('request_id')
    .where('territory_id', '=', territory)
    .execute();
  const rows = await hub.db
    .selectFrom('receipts')
    .selectAll()
    .where('territory_id', '=', territory)
    .orderBy('lease')
    .execute();
  const receipts: ReceiptRow[] = [];
  for (const { statement, ...row } of rows) {
    const key = world.deviceOf(row.device_id)?.identity.publicKey;
    const opened = await openStatement('receipt', statement, receiptSchema, nodeCrypto, key).catch(() => undefined);
    const ofHub = await openStatement('sealed-receipt', statement, sealedReceiptSchema, nodeCrypto).catch(
      () => undefined,
    );
    receipts.push({ ...row, said: opened?.statement, sealed: ofHub?.statement });
  }
  const verdict = await hub.audit.verify(territory);
  const enrolled = await hub.db
    .selectFrom('devices')
    .select('id')
    .where('territory_id', '=', territory)
    .orderBy('id')
    .execute();
  const runs = await hub.db.selectFrom('runs').select('id').where('territory_id', '=', territory).execute();
  const hubs = world.cluster.running().map((running) => running.hub);
  const connected = hubs.flatMap((each) => [...each.local.list()]);
  const counts = hubs.map((each) => each.answers.counts());
  return {
    when,
    requests,
    journalRows: journal.length,
    runs: runs.length,
    spending: world.members === undefined ? undefined : await spendingRows(hub),
    usage: await usageDiffers(hub),
    receipts,
    audit: await readAudit(hub, territory),
    auditBroken: verdict.intact ? await wrongInCopy(hub) : verdict.why,
    enrolled: enrolled.map(({ id }) => id),
    open: counts.reduce((sum, { open }) => sum + open, 0),
    queued: counts.reduce((sum, { queued }) => sum + queued, 0),
    sealedOpen: hubs.reduce((sum, each) => sum + each.sealed.counts().open, 0),
    leases: hubs.flatMap((each) =>
      [...each.sessions.list()].flatMap(({ id, leases }) =>
        [...leases].map((lease) => `${lease} of ${id} at ${each.replica.id}`),
      ),
    ),
    answering: world.devices.reduce((sum, device) => sum + device.answering(), 0),
    missing: missing(world, hub),
    mirrors: mirrors(world),
    homeless: homeless(world, hub),
    intruders: connected
      .map(({ id }) => id)
      .filter((id) => world.revoked.has(id) || world.deviceOf(id)?.traits.stranger === true),
  };
}

/** A copy is verified as anybody outside would: entries, tree, signatures of heads, their order and epochs. */
async function wrongInCopy({ audit, auditDesk, territory }: Hub): Promise<string | undefined> {
  const owner = { id: territory.id, key: territory.publicKey };
  const heads = await auditDesk.heads.list();
  async function* entries(): AsyncGenerator<AuditRecord> {
    for (let afterSeq = 0; ;) {
      const page = await audit.records({ territory: territory.id, afterSeq });
      yield* page;
      if (page.length === 0) return;
      afterSeq += page.length;
    }
  }
  const { findings } = await verifyCopy(copyLines({ owner, heads, entries: entries() }), nodeCrypto);
  return findings[0]?.why ?? auditDesk.heads.fault();
}

async function readAudit(hub: Hub, territory: string): Promise<AuditEntry[]> {
  const entries: AuditEntry[] = [];
  for (;;) {
    const beforeSeq = entries.at(-1)?.seq;
    const before = beforeSeq === undefined ? {} : { beforeSeq };
    const page = await hub.audit.list({ territory, limit: AUDIT_PAGE, ...before });
    entries.push(...page);
    if (page.length < AUDIT_PAGE) return entries.toReversed();
  }
}

function missing(world: World, hub: Hub): string[] {
  const expected = world.devices.filter(
    (device) =>
      device.isRunning() && !device.traits.stranger && !world.revoked.has(device.id) && !world.over.has(device.id),
  );
  return expected.flatMap(({ id, traits }) => {
    const connected = hub.sessions.get(id);
    if (connected === undefined) return [`${id} is not connected`];
    const { state, reason = '' } = connected.status.models.find(({ cid }) => cid === world.model) ?? {};
    // Faults ended its engine again and again, and for minutes it lets the model be.
    if (state === 'failed' && /^its engine ended \d+ times in a row.*left alone/.test(reason)) return [];
    // A device that drains loads nothing any more, also when its engine dies meanwhile.
    if (traits.lends !== 'answers' || state === 'warm' || connected.draining || world.models.length > 1) return [];
    return [`${id} is connected, and the model is ${state ?? 'not there'}`];
  });
}

/** Each device has one home, and everywhere else looks as it does there. */
function mirrors({ cluster }: World): string[] {
  const wrong: string[] = [];
  const homes = new Map<string, string>();
  for (const { hub, id: home } of cluster.running()) {
    for (const device of hub.local.list()) {
      const other = homes.get(device.id);
      if (other !== undefined) wrong.push(`${device.id} is connected to ${other} and to ${home}`);
      homes.set(device.id, home);
      for (const { hub: there, id } of cluster.running()) {
        const seen = there.sessions.get(device.id);
        const how = seen === undefined ? 'is not seen' : howItDiffers(device, seen);
        if (how !== undefined) wrong.push(`${device.id} of ${home} ${how} at ${id}`);
      }
    }
  }
  for (const { hub, id } of cluster.running())
    for (const device of hub.sessions.list())
      if (!homes.has(device.id)) wrong.push(`${device.id} is not connected, and is seen at ${id}`);
  return wrong;
}

function howItDiffers(truth: ConnectedDevice, seen: ConnectedDevice): string | undefined {
  if (seen.home !== truth.home || seen.session !== truth.session) return 'is seen in another session';
  if (seen.leasesElsewhere > 0) return `is seen with ${seen.leasesElsewhere} leases of others`;
  const modelsOf = ({ status }: ConnectedDevice): string => JSON.stringify(status.models);
  if (seen.status.state !== truth.status.state || seen.draining !== truth.draining) return 'is seen in another state';
  return modelsOf(seen) === modelsOf(truth) ? undefined : 'is seen with other models';
}

async function usageDiffers({ db, territory }: Hub): Promise<string | undefined> {
  const sums = ['requests', 'failed', 'cancelled', 'answer_tokens'] as const;
  const used = await db
    .selectFrom('usage')
    .where('territory_id', '=', territory.id)
    .select(({ fn }) => sums.map((sum) => fn.sum<number | null>(sum).as(sum)))
    .executeTakeFirstOrThrow();
  const rows = await db
    .selectFrom('requests')
    .selectAll()
    .where('territory_id', '=', territory.id)
    .where('state', '<>', 'open')
    .execute();
  const count = (state: string): number => rows.filter((row) => row.state === state).length;
  const due = {
    requests: rows.length,
    failed: count('failed'),
    cancelled: count('cancelled'),
    answer_tokens: rows.reduce((sum, row) => sum + row.answer_tokens, 0),
  };
  const wrong = sums.filter((sum) => (used[sum] ?? 0) !== due[sum]);
  return wrong.length === 0
    ? undefined
    : `usage differs from requests: ${wrong.map((sum) => `${sum} ${used[sum]} of ${due[sum]}`).join(', ')}`;
}

async function spendingRows({ db, territory: { id } }: Hub): Promise<SpendingRows> {
  const holds = await db.selectFrom('spend_holds').select('id').where('territory_id', '=', id).execute();
  const days = await db.selectFrom('spend_days').selectAll().where('territory_id', '=', id).execute();
  const rows = await db.selectFrom('allocations').selectAll().where('territory_id', '=', id).execute();
  return {
    holds: holds.map((hold) => hold.id),
    days: days.map(({ kind, subject_id: subject, ...row }) => ({ name: `${kind} ${subject}`, ...row })),
    allocations: rows.map((row) => ({ id: row.id, spent: row.spent_tokens, held: row.held_tokens })),
  };
}

/** On disks: whoever lives and could run the model, with room beside what it was asked to hold. */
function homeless(world: World, hub: Hub): string[] {
  const live = [...hub.sessions.list()].filter(({ id, draining, status }) => {
    const traits = world.deviceOf(id)?.traits;
    return traits?.lends === 'answers' && !draining && status.state !== 'paused';
  });
  return world.models.flatMap(({ cid, name, bytes }) => {
    const isHeld = live.some(({ status }) =>
      status.models.some((model) => model.cid === cid && ['held', 'loading', 'warm'].includes(model.state)),
    );
    const roomy = live.find(({ id, status }) => {
      const { diskBytes = 0, memoryBytes = 0 } = world.deviceOf(id)?.traits ?? {};
      const held = world.models.filter((other) => status.models.some((model) => model.cid === other.cid));
      const free = held.reduce((sum, other) => sum - other.bytes, diskBytes);
      return memoryBytes > bytes * MEMORY_GENEROUS && free > bytes * 1.05;
    });
    return isHeld || roomy === undefined ? [] : [`nobody holds the model ${name}, and ${roomy.id} has room for it`];
  });
}

/** Above the estimate that stands for a model which nobody has loaded yet. */
const MEMORY_GENEROUS = 1.6;
