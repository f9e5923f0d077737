/**
 * A load balancer for tests, and the place where a network is made to fail: TCP connections passed on to one of several
 * targets by turns, WebSockets like any other, with faults injected between the two sides instead of in the system.
 *
 * A target that `/readyz` refuses, or that cannot be reached, gets no new connections; those that it has stay. A
 * connection is given to the next target when the first refuses it. In front of a server of another kind (PostgreSQL,
 * NATS) it has one target and looks at nothing. It never reads what it passes on.
 */
import { get } from 'node:http';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Balancer {
  readonly port: number;
  /** As HTTP. */
  readonly url: string;
  /** Adds a target, or moves one to another port. */
  set(name: string, port: number): void;
  /** No new connections for it until it is set again; those that it has stay. */
  takeOut(name: string): void;
  /** Breaks every connection, or those of one target, as a reset would. Returns how many. */
  cut(name?: string): number;
  /** Breaks the `number`th of the open connections, oldest first. Returns the name of its target. */
  cutOne(number: number): string | undefined;
  /**
   * From now on no byte passes to or from the target, or any of them: connections stay open and silent, as across a
   * network that is gone. New ones are taken and are silent, too.
   */
  silence(name?: string): void;
  /** What was held passes on. */
  restore(name?: string): void;
  /** Each piece waits this long on its way, in both directions. */
  delay(ms: number): void;
  /** Names of the targets that get new connections now. */
  ready(): string[];
  /** Open connections of each target. */
  connections(): ReadonlyMap<string, number>;
  close(): Promise<void>;
}

export interface BalancerOptions {
  /** Ask each target's `/readyz` whether it wants work. Without, all are ready. */
  readonly probes?: boolean;
}

const PROBE_MS = 200;
const PROBE_MS_MAX = 1_000;
/** One that does not answer a probe twice is out; one that refuses it is out at once, and one that answers is in. */
const SILENT_PROBES_MAX = 2;

interface Target {
  readonly name: string;
  port: number;
  isWanted: boolean;
  isReady: boolean;
  silentProbes: number;
  isSilent: boolean;
}

interface Link {
  readonly target: Target;
  readonly near: Socket;
  readonly far: Socket;
  /** What waits to pass, in order. */
  readonly held: (() => void)[];
}

export async function startBalancer({ probes = false }: BalancerOptions = {}): Promise<Balancer> {
  const targets = new Map<string, Target>();
  const links = new Set<Link>();
  let turn = 0;
  let delayMs = 0;

  const chosen = (): Target[] => [...targets.values()].filter((target) => target.isWanted && target.isReady);
  const named = (name?: string): Target[] =>
    [...targets.values()].filter((one) => name === undefined || one.name === name);
  const linksOf = (name?: string): Link[] =>
    [...links].filter(({ target }) => name === undefined || target.name === name);

  /** Tries the targets by turns until one takes the connection. */
  const place = (near: Socket): void => {
    const ready = chosen();
    const order = ready.map((_, index) => ready[(index + turn) % ready.length] as Target);
    turn++;
    const next = (): void => {
      const target = order.shift();
      if (target === undefined || near.destroyed) return void near.resetAndDestroy();
      const far = connect({ port: target.port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
      const refused = (): void => next();
      far.once('error', refused);
      far.once('connect', () => {
        far.off('error', refused);
        join({ target, near, far, held: [] });
      });
    };
    near.on('error', () => undefined /* its end is told by `close` */);
    next();
  };

  const join = (link: Link): void => {
    const { near, far } = link;
    links.add(link);
    const pass = (from: Socket, to: Socket): void => {
      from.on('data', (bytes: Buffer) => inTurn(link, delayMs, () => send(from, to, bytes)));
      from.on('end', () => inTurn(link, delayMs, () => to.end()));
      from.on('error', () => undefined /* told by `close` */);
      from.on('close', (hadError) => {
        if (to.closed) links.delete(link);
        // Across a silent network nobody hears of the other's end.
        else inTurn(link, delayMs, () => (hadError ? to.resetAndDestroy() : to.end()));
      });
    };
    pass(near, far);
    pass(far, near);
    near.setNoDelay(true).resume();
  };

  const probing = probes
    ? setInterval(() => {
        for (const target of targets.values()) void probe(target);
      }, PROBE_MS)
    : undefined;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, place);
  server.listen(0, '127.0.0.1', 4_096);
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;

  return {
    port,
    url: `http://127.0.0.1:${port}`,
    set(name, at) {
      const isReady = !probes;
      targets.set(name, { name, port: at, isWanted: true, isReady, silentProbes: 0, isSilent: false });
    },
    takeOut(name) {
      for (const target of named(name)) target.isWanted = false;
    },
    cut(name) {
      const cut = linksOf(name);
      for (const { near, far } of cut) {
        near.resetAndDestroy();
        far.resetAndDestroy();
      }
      return cut.length;
    },
    cutOne(number) {
      const link = [...links][number];
      link?.near.resetAndDestroy();
      link?.far.resetAndDestroy();
      return link?.target.name;
    },
    silence(name) {
      for (const target of named(name)) target.isSilent = true;
    },
    restore(name) {
      for (const target of named(name)) target.isSilent = false;
      for (const { held } of linksOf(name)) for (const act of held.splice(0)) act();
    },
    delay(ms) {
      delayMs = ms;
    },
    ready: () => chosen().map(({ name }) => name),
    connections: () => new Map([...targets.keys()].map((name) => [name, linksOf(name).length])),
    async close() {
      clearInterval(probing);
      for (const { near, far } of links) {
        near.destroy();
        far.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Timers of equal length fire in the order in which they were set, so order is kept. */
function inTurn({ target, held }: Link, delayMs: number, act: () => void): void {
  if (target.isSilent || held.length > 0) held.push(act);
  else if (delayMs === 0) act();
  else setTimeout(act, delayMs);
}

/** Reads no faster than the other side takes it. */
function send(from: Socket, to: Socket, bytes: Buffer): void {
  if (to.destroyed || to.writableEnded || to.write(bytes)) return;
  // What was held comes all at once: whoever paused it first waits already, and one waiter is enough.
  if (from.isPaused()) return;
  from.pause();
  to.once('drain', () => from.resume());
}

function probe(target: Target): Promise<void> {
  return new Promise((resolve) => {
    const { port } = target;
    const settle = (isReady: boolean | undefined): void => {
      // Its port may be another process's by now.
      if (target.port === port) {
        target.silentProbes = isReady === undefined ? target.silentProbes + 1 : 0;
        target.isReady = isReady ?? (target.isReady && target.silentProbes < SILENT_PROBES_MAX);
      }
      resolve();
    };
    const options = { port, host: '127.0.0.1', path: '/readyz', agent: false, timeout: PROBE_MS_MAX };
    const asked = get(options, (answered) => {
      answered.resume();
      settle(answered.statusCode === 200);
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', (error: NodeJS.ErrnoException) => settle(error.code === 'ECONNREFUSED' ? false : undefined));
  });
}
