/**
 * Which replicas answer on the bus just now. Each says that it lives twice a second; one that falls silent is asked,
 * and is gone when nobody answers for it. While this replica itself cannot use the bus it judges nobody for a while.
 *
 * This is what messages are sent by. Who may be taken for dead in the database is the register's matter.
 */
import { codeOf, type Clock, type Timer } from '@idlewild/protocol';
import type { Bus } from '../bus/port.ts';
import type { Log } from '../log.ts';
import { beatSchema, readAs, write, type Beat } from './fleet-wire.ts';
import { FLEET_LIMITS } from './limits.ts';

export interface RosterEvents {
  /** What this replica's next beat says beside that it lives. */
  beat(): Pick<Beat, 'n' | 'asked' | 'queued' | 'narrow'>;
  /** Heard for the first time, or again. */
  onSeen(replica: string): void;
  onBeat(beat: Beat): void;
  onGone(replica: string, why: string): void;
}

export interface Roster {
  isLive(replica: string): boolean;
  others(): IterableIterator<string>;
  stop(): void;
}

export interface RosterDeps {
  readonly replica: string;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: RosterEvents;
}

interface Other {
  heardAtMs: number;
  isAsked: boolean;
}

export function createRoster({ replica, bus, clock, log, events }: RosterDeps): Roster {
  const others = new Map<string, Other>();
  let downSinceMs: number | undefined = bus.isUp() ? undefined : clock.monotonic();
  let timer: Timer;
  let stopped = false;

  function heard(id: string): void {
    const other = others.get(id);
    if (other !== undefined) {
      other.heardAtMs = clock.monotonic();
      return;
    }
    others.set(id, { heardAtMs: clock.monotonic(), isAsked: false });
    log.info({ replica: id }, 'another replica is here');
    events.onSeen(id);
  }

  function forget(id: string, why: string): void {
    if (!others.delete(id)) return;
    log.warn({ replica: id, why }, 'another replica is gone');
    events.onGone(id, why);
  }

  async function ask(id: string, other: Other): Promise<void> {
    other.isAsked = true;
    const askedAtMs = clock.monotonic();
    try {
      await bus.request(`rep.${id}.ping`, new Uint8Array(0), { timeoutMs: FLEET_LIMITS.pingMs });
      if (others.get(id) === other) heard(id);
    } catch (error) {
      const isSilent = others.get(id) === other && other.heardAtMs <= askedAtMs;
      // Without a bus nobody answers; that says nothing about the other.
      if (isSilent && bus.isUp() && codeOf(error) !== 'bus_down') forget(id, 'it does not answer on the bus');
    } finally {
      other.isAsked = false;
    }
  }

  function look(): void {
    const nowMs = clock.monotonic();
    if (!bus.isUp()) {
      if (downSinceMs !== undefined && nowMs - downSinceMs >= FLEET_LIMITS.busDownMs)
        for (const id of [...others.keys()]) forget(id, 'the bus is down');
      return;
    }
    for (const [id, other] of others)
      if (!other.isAsked && nowMs - other.heardAtMs >= FLEET_LIMITS.quietMs) void ask(id, other);
  }

  function round(): void {
    if (stopped) return;
    timer = clock.after(FLEET_LIMITS.beatMs, round);
    bus.publish('all.beat', write({ from: replica, ...events.beat() }));
    look();
  }

  const subscriptions = [
    bus.subscribe('all.beat', ({ bytes }) => {
      const beat = readAs(beatSchema, bytes);
      if (beat === undefined || beat.from === replica || stopped) return;
      heard(beat.from);
      events.onBeat(beat);
    }),
    bus.subscribe(`rep.${replica}.ping`, (message) => message.respond(new Uint8Array(0))),
    bus.subscribe('all.bye', ({ bytes }) => forget(new TextDecoder().decode(bytes), 'it stopped')),
    bus.onChange((isUp) => {
      downSinceMs = isUp ? undefined : clock.monotonic();
      const nowMs = clock.monotonic();
      // Nobody could be heard meanwhile.
      if (isUp) for (const other of others.values()) other.heardAtMs = nowMs;
    }),
  ];
  timer = clock.after(0, round);

  return {
    isLive: (id) => id === replica || others.has(id),
    others: () => others.keys(),
    stop() {
      stopped = true;
      timer.cancel();
      for (const subscription of subscriptions) subscription.stop();
      bus.publish('all.bye', new TextEncoder().encode(replica));
    },
  };
}
