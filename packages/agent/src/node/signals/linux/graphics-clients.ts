/**
 * How busy programs keep graphics processors, program by program: each open file of a card counts the time that its
 * engines spent on it (`/proc/PID/fdinfo`, drm-usage-stats of the kernel). That is how cards are known whose driver has
 * no count of its own, such as those of boards, and what is ours is left out.
 *
 * Other users' files are not shown to us. Which programs have a card open is looked up a few processes at a time, those
 * that were just started first, for a new game is the one to notice. Reading wakes no card.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import { numberOf, within, type Probe } from '../probe.ts';
import type { System } from '../system.ts';

/** Of one look: some thousand open files, which take a few milliseconds. */
const PROCESSES_PER_LOOK = 40;
/** Steps from a process up to us; a tree that is deeper is nobody's. */
const PARENTS_MAX = 32;

/** Of one engine of a card, by all programs but ours. */
interface Used {
  /** Of nanoseconds, or of the card's own cycles. */
  readonly amount: number;
  /** What the engine could have done since some start, in the same unit; absent for nanoseconds. */
  readonly total?: number;
  /** Engines of that kind. */
  readonly capacity: number;
}
interface Sample {
  readonly atMs: number;
  /** By card, program's client and engine. */
  readonly used: ReadonlyMap<string, Used>;
}

export function createGraphicsClientsProbe(system: System, clock: Clock): Probe {
  let known = new Set<string>();
  let queue: string[] = [];
  /** By process, one open file of each client. */
  const held = new Map<string, readonly string[]>();
  let lookedMs = -Infinity;
  let before: Sample | undefined;

  /** Those that have started since come first, the others in turns. */
  function look(nowMs: number): void {
    if (nowMs - lookedMs < SIGNAL_LIMITS.sensorsEveryMs) return;
    lookedMs = nowMs;
    const there = system.list('/proc').filter((name) => /^\d+$/.test(name));
    const started = there.filter((pid) => !known.has(pid));
    known = new Set(there);
    for (const pid of held.keys()) if (!known.has(pid)) held.delete(pid);
    queue = [...started, ...(queue.length === 0 ? there.filter((pid) => !started.includes(pid)) : queue)];
    for (const pid of queue.splice(0, PROCESSES_PER_LOOK)) {
      const files = isOurs(system, pid) ? [] : clientFiles(system, pid);
      if (files.length > 0) held.set(pid, files);
      else held.delete(pid);
    }
  }

  return {
    sources: () => (before === undefined ? {} : { otherGpu: 'graphics load of your programs (/proc/PID/fdinfo)' }),
    read() {
      const atMs = clock.monotonic();
      if (system.list('/sys/class/drm').some((name) => /^(card|renderD)\d+$/.test(name))) look(atMs);
      else held.clear();
      const last = before;
      const used = usedBy(system, held);
      before = used.size > 0 || last !== undefined ? { atMs, used } : undefined;
      return last === undefined || before === undefined ? {} : { otherGpu: busiest(last, before) };
    },
  };
}

/** A client that has its card open several times is read once. */
function clientFiles(system: System, pid: string): string[] {
  const files = new Map<string, string>();
  for (const file of system.list(`/proc/${pid}/fd`)) {
    if (system.link(`/proc/${pid}/fd/${file}`)?.startsWith('/dev/dri/') !== true) continue;
    const [, client] = /^drm-client-id:\s*(\S+)/m.exec(system.peek(infoOf(pid, file)) ?? '') ?? [];
    if (client !== undefined) files.set(client, file);
  }
  return [...files.values()];
}

const infoOf = (pid: string, file: string): string => `/proc/${pid}/fdinfo/${file}`;

function isOurs(system: System, pid: string): boolean {
  let at = Number(pid);
  for (let steps = 0; steps < PARENTS_MAX && at > 1; steps++) {
    if (at === system.pid) return true;
    const stat = system.peek(`/proc/${at}/stat`) ?? '';
    // A program's name may hold spaces and brackets.
    at = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  }
  return false;
}

function usedBy(system: System, held: ReadonlyMap<string, readonly string[]>): Sample['used'] {
  const used = new Map<string, Used>();
  for (const [pid, files] of held) {
    for (const file of files) {
      for (const [engine, amount] of readClient(system.peek(infoOf(pid, file)))) used.set(engine, amount);
    }
  }
  return used;
}

function readClient(text = ''): [string, Used][] {
  const fields = new Map(
    [...text.matchAll(/^(drm-[\w-]+):\s*(\S+)/gm)].map(([, name = '', value = '']) => [name, value]),
  );
  const client = fields.get('drm-client-id');
  if (client === undefined) return [];
  const card = fields.get('drm-pdev') ?? fields.get('drm-driver') ?? '';
  const figure = (name: string): number | undefined => numberOf(fields.get(name));
  return [...fields.keys()].flatMap((name): [string, Used][] => {
    const [, kind, engine = ''] = /^drm-(engine|cycles)-(?!capacity-)(.+)$/.exec(name) ?? [];
    const amount = figure(name);
    const total = kind === 'cycles' ? figure(`drm-total-cycles-${engine}`) : undefined;
    if (kind === undefined || amount === undefined || (kind === 'cycles' && total === undefined)) return [];
    const capacity = Math.max(1, figure(`drm-engine-capacity-${engine}`) ?? 1);
    return [[`${card} ${engine} ${client}`, { amount, capacity, ...(total === undefined ? {} : { total }) }]];
  });
}

/** Of the engine that has most to do; clients that came since have not been seen working yet. */
function busiest(before: Sample, now: Sample): number {
  const loads = new Map<string, number>();
  for (const [key, { amount, total, capacity }] of now.used) {
    const was = before.used.get(key);
    if (was === undefined || amount < was.amount) continue;
    const passed = total === undefined ? (now.atMs - before.atMs) * 1e6 : total - (was.total ?? total);
    const engine = key.slice(0, key.lastIndexOf(' '));
    if (passed > 0) loads.set(engine, (loads.get(engine) ?? 0) + (amount - was.amount) / passed / capacity);
  }
  return within(Math.max(0, ...loads.values()), 0, 1);
}
