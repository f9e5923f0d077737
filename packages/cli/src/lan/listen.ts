/** Hearing which hubs a LAN tells of. It asks, keeps at most a screenful of what comes, and verifies nothing. */
import Bonjour from 'bonjour-service';
import { LAN_LIMITS } from './limits.ts';
import { SERVICE_TYPE, heardHub, type HeardHub } from './record.ts';
import { admitsAnswers, openLanSocket, type LanOptions } from './socket.ts';

export interface Ear {
  /** What is announced now, as far as it was heard. */
  hubs(): HeardHub[];
  /** Asks again: a datagram may get lost. */
  ask(): void;
  close(): Promise<void>;
}

/** Throws `usage` where nothing can be heard. */
export async function openEar(options: LanOptions): Promise<Ear> {
  const { library, stop } = await openLanSocket(admitsAnswers(), options);
  const bonjour = new Bonjour(library, () => undefined /* it publishes nothing that could fail to be sent */);
  const browser = bonjour.find({ type: SERVICE_TYPE });
  return {
    hubs: () =>
      browser.services
        .map(heardHub)
        .filter((hub) => hub !== undefined)
        .slice(0, LAN_LIMITS.hubsMax)
        .sort((one, other) => compare(one.territory.name, other.territory.name) || compare(one.name, other.name)),
    ask: () => browser.update(),
    async close() {
      stop();
      browser.stop();
      await new Promise<void>((resolve) => {
        bonjour.destroy(() => resolve());
      });
    },
  };
}

const compare = (one: string, other: string): number => (one < other ? -1 : Number(one > other));

/** Listens for `listenMs`. Throws `usage` where nothing can be heard. */
export async function hearHubs(options: LanOptions & { readonly listenMs?: number }): Promise<HeardHub[]> {
  const ear = await openEar(options);
  const again = setInterval(() => ear.ask(), LAN_LIMITS.askAgainMs);
  await new Promise((resolve) => {
    setTimeout(resolve, options.listenMs ?? LAN_LIMITS.listenMs);
  });
  clearInterval(again);
  const heard = ear.hubs();
  await ear.close();
  return heard;
}
