/**
 * Thousands of light devices, in processes of their own because each may open only so many files.
 *
 * Who they are follows from their number, so a bench can write them into a hub's database as enrolled and start them
 * anywhere: thousands of invites redeemed would measure the invites.
 */
import { join } from 'node:path';
import { signConsent } from '@idlewild/agent';
import { idOfKey, utf8 } from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import { Client } from 'pg';
import { startBenchProcess, type BenchProcess } from '../processes.ts';

export interface LightTask {
  readonly seed: string;
  readonly count: number;
  /** As a name that stands for several addresses. */
  readonly urls: readonly string[];
  /** The territory's key, in hexadecimal. */
  readonly territory: string;
  /** Without it they have been enrolled before. */
  readonly joinToken?: string;
}

/** Told whenever it changes, a few times a second. */
export interface LightSaid {
  readonly connected: number;
  /** How many ended for good, and why the last did. */
  readonly ended: number;
  readonly why: string;
  /** Dials that a hub, or the absence of one, put off. */
  readonly putOff: number;
}

export interface LightDevices {
  connected(): number;
  ended(): { readonly count: number; readonly why: string };
  putOff(): number;
  stop(): Promise<void>;
}

/** Well within what a process may open, and enough for one core. */
const PER_PROCESS = 5_000;
const ROWS_AT_ONCE = 500;

export interface LightChoice {
  /** Names the devices: other names are other devices. */
  readonly name: string;
  readonly count: number;
  readonly joinToken?: string;
}

interface Share {
  readonly seed: string;
  readonly count: number;
}

const sharesOf = ({ name, count }: LightChoice): Share[] =>
  Array.from({ length: Math.ceil(count / PER_PROCESS) }, (_, index) => ({
    seed: `${name}-${index}`,
    count: Math.min(PER_PROCESS, count - index * PER_PROCESS),
  }));

/** Writes them into the database as if each had joined with an invite. */
export async function enrolLight(database: string, choice: LightChoice): Promise<void> {
  const client = new Client({ connectionString: database });
  await client.connect();
  try {
    const found = await client.query<{ id: string; public_key: Buffer }>('select id, public_key from territories');
    const territory = found.rows[0];
    if (territory === undefined) throw new Error('the hub has no territory');
    for (const { seed, count } of sharesOf(choice)) {
      for (let from = 0; from < count; from += ROWS_AT_ONCE) {
        const rows: unknown[][] = [];
        for (let index = from; index < Math.min(count, from + ROWS_AT_ONCE); index++) {
          rows.push(await rowOf(territory, seed, index));
        }
        const marks = rows.map((row, at) => `(${row.map((_, i) => `$${at * row.length + i + 1}`).join(', ')}, 0, 0)`);
        const columns = 'id, territory_id, name, public_key, consent, profile_json, enrolled_at_ms, last_seen_at_ms';
        const text = `insert into devices (${columns}) values ${marks.join(', ')}`;
        await client.query(text, rows.flat());
      }
    }
  } finally {
    await client.end();
  }
}

/** What it says of itself is brought up to date when it first connects. */
async function rowOf(territory: { id: string; public_key: Buffer }, seed: string, index: number): Promise<unknown[]> {
  const identity = await nodeCrypto.signingKey(await nodeCrypto.sha256(utf8(`${seed}/${index}`)));
  const id = await idOfKey('dev', identity.publicKey, nodeCrypto);
  const consent = await signConsent(
    { territories: [new Uint8Array(territory.public_key)], kinds: ['answers'], presence: 'ignore' },
    identity,
    systemClock,
    nodeCrypto,
  );
  return [id, territory.id, `light-${index}`, Buffer.from(identity.publicKey), Buffer.from(consent), '{}'];
}

export async function startLight(choice: LightChoice, urls: readonly string[]): Promise<LightDevices> {
  const territory = await territoryOf(urls[0] ?? '');
  const joining = choice.joinToken === undefined ? {} : { joinToken: choice.joinToken };
  const said = new Map<string, LightSaid>();
  const processes: BenchProcess<LightSaid>[] = sharesOf(choice).map(({ seed, count }) =>
    startBenchProcess({
      script: join(import.meta.dirname, 'light-process.ts'),
      task: { seed, count, urls, territory, ...joining } satisfies LightTask,
      onMessage: (message: LightSaid) => void said.set(seed, message),
    }),
  );
  const sum = (field: 'connected' | 'ended' | 'putOff'): number =>
    [...said.values()].reduce((total, message) => total + message[field], 0);
  return {
    connected: () => sum('connected'),
    ended: () => ({ count: sum('ended'), why: [...said.values()].find(({ why }) => why !== '')?.why ?? '' }),
    putOff: () => sum('putOff'),
    stop: async () => void (await Promise.all(processes.map((child) => child.stop()))),
  };
}

async function territoryOf(url: string): Promise<string> {
  const response = await fetch(`${url}/.well-known/idlewild`);
  const { territory } = (await response.json()) as { territory: { key: string } };
  return Buffer.from(territory.key, 'base64url').toString('hex');
}
