/**
 * The bus over NATS core: what replicas on several machines share.
 *
 * At the first start a server must be there within seconds, or the error says why not: that is an operator's mistake.
 * Later outages end by themselves: it comes back for ever, subscriptions come with it, and what was published meanwhile
 * is gone. Nothing is kept for a server that is away or does not read, beyond a bound. NATS reconnects and keeps time
 * with the platform's timers; everything else follows the clock that is handed in. It knows of no keys and of no sizes:
 * what goes over it is sealed and cut before (`sealed-bus.ts`).
 */
import { hex, type Clock, type IdlewildError, type Random, type Timer } from '@idlewild/protocol';
import { NatsConnectionImpl, type Msg, type NatsConnection } from '@nats-io/transport-node';
import type { Log } from '../log.ts';
import { downError, noResponderError, timeoutError } from './errors.ts';
import { BUS_LIMITS } from './limits.ts';
import { connectNats, type NatsOptions } from './nats-connect.ts';
import type { Bus, Subscription } from './port.ts';
import { checkPattern, checkSubject } from './subjects.ts';

interface Deps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const NO_RESPONDERS = 503;

/** Throws `bus_down` when no server answers within ten seconds, and at once when one refuses. */
export async function createNatsBus(deps: Deps & NatsOptions): Promise<Bus> {
  const nats = await connectNats(deps);
  const listeners = createListeners(deps.log);
  const outbound = createOutbound(nats, (lost) => {
    deps.log.warn({ lost }, 'the bus did not take messages as fast as they came; some are lost');
    listeners.tell(true);
  });
  const asking = createAsking(nats, deps, outbound);
  let isUp = true;
  let isClosed = false;
  const change = (next: boolean): void => {
    if (isUp === next) return;
    isUp = next;
    if (!next) asking.failAll();
    outbound.forget();
    listeners.tell(next);
  };
  void watch(nats, deps, (next) => change(next && !isClosed));
  return {
    publish(subject, bytes) {
      checkSubject(subject);
      if (isUp) outbound.publish(subject, bytes);
    },
    subscribe(pattern, onMessage) {
      checkPattern(pattern);
      if (isClosed) return { stop: () => undefined };
      const { log } = deps;
      return listen(nats, pattern, log, (message) => {
        const { subject, reply, data } = message;
        onMessage({
          subject,
          bytes: plain(data),
          respond: (bytes) => {
            if (reply !== undefined && reply !== '' && isUp) outbound.publish(reply, bytes);
          },
        });
      });
    },
    async request(subject, bytes, { timeoutMs }) {
      checkSubject(subject);
      if (!isUp) throw downError(subject);
      return asking.ask(subject, bytes, timeoutMs);
    },
    isUp: () => isUp,
    onChange: (listener) => listeners.add(listener),
    async close() {
      if (isClosed) return;
      isClosed = true;
      listeners.clear();
      if (isUp) await inTime(deps.clock, BUS_LIMITS.closeMsMax, nats.flush());
      change(false);
      await nats.close();
    },
  };
}

/** NATS hands out Node's buffers, whose `slice` does not copy. */
const plain = ({ buffer, byteOffset, length }: Uint8Array): Uint8Array => new Uint8Array(buffer, byteOffset, length);

/** Calls `onMessage` for what matches; what it throws ends nothing else. */
function listen(nats: NatsConnection, pattern: string, log: Log, onMessage: (message: Msg) => void): Subscription {
  const subscription = nats.subscribe(pattern, {
    callback: (refusal, message) => {
      if (refusal !== null) {
        log.error({ err: refusal, pattern }, 'the bus does not let this replica listen; allow its user `iw.>` there');
        return;
      }
      try {
        onMessage(message);
      } catch (error) {
        log.error({ err: error, subject: message.subject }, 'a message on the bus could not be handled');
      }
    },
  });
  return {
    stop: () => {
      if (!subscription.isClosed()) subscription.unsubscribe();
    },
  };
}

/** Tells of each loss and return of the connection. */
async function watch(nats: NatsConnection, { clock, log }: Deps, tell: (isUp: boolean) => void): Promise<void> {
  let giveUp: Timer | undefined;
  for await (const status of nats.status()) {
    switch (status.type) {
      case 'staleConnection':
        log.warn({}, 'the bus does not answer any more; trying to reach it again');
        giveUp = clock.after(BUS_LIMITS.closeMsMax, () => abandon(nats));
        tell(false);
        break;
      case 'disconnect':
        log.warn({ server: status.server }, 'the bus is gone; trying to reach it again');
        giveUp?.cancel();
        tell(false);
        break;
      case 'reconnect':
        log.info({ server: status.server }, 'the bus is back');
        tell(true);
        break;
      case 'error':
        log.error({ err: status.error }, 'the bus refused something');
        break;
      default:
    }
  }
  giveUp?.cancel();
  tell(false);
}

/**
 * NATS flushes a connection that it gives up as stale, and waits for that as long as TCP does, a quarter of an hour,
 * where the other end is gone and the buffers are full. Destroying the socket ends the wait.
 */
function abandon(nats: NatsConnection): void {
  if (nats instanceof NatsConnectionImpl) nats.protocol.transport.discard();
}

interface Listeners {
  add(listener: (isUp: boolean) => void): Subscription;
  tell(isUp: boolean): void;
  clear(): void;
}

function createListeners(log: Log): Listeners {
  const all = new Set<(isUp: boolean) => void>();
  return {
    add(listener) {
      const own = (isUp: boolean): void => listener(isUp);
      all.add(own);
      return { stop: () => void all.delete(own) };
    },
    tell(isUp) {
      for (const listener of [...all]) {
        try {
          listener(isUp);
        } catch (error) {
          log.error({ err: error, isUp }, 'a change of the bus could not be handled');
        }
      }
    },
    clear: () => all.clear(),
  };
}

interface Outbound {
  publish(subject: string, bytes: Uint8Array, reply?: string): void;
  /** What was under way is lost or taken: it is not counted any more. */
  forget(): void;
}

/**
 * Bounds what waits for a server that does not read. NATS does not say how much that is; but its answer to a ping says
 * that all before was taken, so one is sent with every mebibyte.
 */
function createOutbound(nats: NatsConnection, onLoss: (messages: number) => void): Outbound {
  let given = 0;
  let taken = 0;
  let asked = 0;
  let lost = 0;
  const ask = (): void => {
    const upTo = given;
    asked = upTo;
    nats.flush().then(
      () => {
        taken = Math.max(taken, upTo);
        if (lost > 0) onLoss(lost);
        lost = 0;
      },
      () => undefined /* the connection went; `forget` follows */,
    );
  };
  return {
    publish(subject, bytes, reply) {
      if (given - taken + bytes.length > BUS_LIMITS.outboundBytesMax) {
        lost++;
        return;
      }
      given += bytes.length;
      nats.publish(subject, bytes, reply === undefined ? undefined : { reply });
      if (given - asked >= BUS_LIMITS.outboundAskBytes) ask();
    },
    forget() {
      taken = given;
      asked = given;
      lost = 0;
    },
  };
}

interface Asking {
  ask(subject: string, bytes: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  failAll(): void;
}

/** Requests over one subscription of this connection's own; NATS's requests would outlive the connection. */
function createAsking(nats: NatsConnection, { clock, random, log }: Deps, outbound: Outbound): Asking {
  const inbox = `iw.inbox.${hex(random.bytes(16))}`;
  const pending = new Map<string, { readonly subject: string; settle(outcome: Uint8Array | IdlewildError): void }>();
  let asked = 0;
  listen(nats, `${inbox}.*`, log, (message) => {
    const waiting = pending.get(message.subject);
    if (waiting === undefined) return;
    const isNobody = message.headers?.code === NO_RESPONDERS;
    waiting.settle(isNobody ? noResponderError(waiting.subject) : plain(message.data));
  });
  return {
    ask: (subject, bytes, timeoutMs) =>
      new Promise((resolve, reject) => {
        const reply = `${inbox}.${++asked}`;
        const timer = clock.after(timeoutMs, () => pending.get(reply)?.settle(timeoutError(subject, timeoutMs)));
        pending.set(reply, {
          subject,
          settle(outcome) {
            pending.delete(reply);
            timer.cancel();
            if (outcome instanceof Uint8Array) resolve(outcome);
            else reject(outcome);
          },
        });
        outbound.publish(subject, bytes, reply);
      }),
    failAll() {
      for (const { subject, settle } of [...pending.values()]) settle(downError(subject));
    },
  };
}

function inTime(clock: Clock, timeoutMs: number, work: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(timeoutMs, resolve);
    void work
      .catch(() => undefined /* the connection went meanwhile */)
      .finally(() => {
        timer.cancel();
        resolve();
      });
  });
}
