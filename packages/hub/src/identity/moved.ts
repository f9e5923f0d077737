/**
 * Telling devices that their territory has moved to another hub.
 *
 * The address is kept beside the secrets, so that every replica finds it, also after a restart: whoever can write there
 * holds the territory's key anyway. A device keeps the new address once a hub of its territory has proved itself there,
 * and comes back to this one until then; it is told again each time.
 */
import { fromUtf8, messageOf, utf8, type Clock, type Timer } from '@idlewild/protocol';
import { z } from 'zod';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { LocalDevice } from '../session/connected-device.ts';
import type { LocalSessions, MovedTo } from '../session/sessions.ts';
import type { Secrets } from './secrets.ts';

/** Without `url` it has not moved, or is back. */
const noteSchema = z.object({
  url: z.string().max(512).optional(),
  /** Base64url. */
  pin: z.string().optional(),
  session: z.boolean().optional(),
});

const HEADER = 'Idlewild: where this territory has moved to, as JSON in base64; devices are told. Not secret.';

/** Notes it, or with `undefined` that it is here. */
export async function noteMoved(secrets: Secrets, to: MovedTo | undefined): Promise<void> {
  const pin = to?.pin === undefined ? {} : { pin: Buffer.from(to.pin).toString('base64url') };
  const session = to?.session === true ? { session: true } : {};
  const note: z.infer<typeof noteSchema> = to === undefined ? {} : { url: to.url, ...pin, ...session };
  await secrets.write('moved.address', utf8(JSON.stringify(note)), HEADER);
}

export async function readMoved(secrets: Secrets): Promise<MovedTo | undefined> {
  const bytes = await secrets.read('moved.address');
  if (bytes === undefined) return undefined;
  const { url, pin, session } = noteSchema.parse(JSON.parse(fromUtf8(bytes)));
  if (url === undefined) return undefined;
  return {
    url,
    ...(pin === undefined ? {} : { pin: new Uint8Array(Buffer.from(pin, 'base64url')) }),
    ...(session === true ? { session } : {}),
  };
}

export interface MovedDeps {
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly log: Log;
}

/** Looks from time to time, and tells each device that is connected here once. */
export function watchMoved(
  { secrets, clock, log }: MovedDeps,
  local: Pick<LocalSessions, 'list' | 'move'>,
): { stop(): void } {
  let told = new WeakSet<LocalDevice>();
  let toldOf: string | undefined;
  let timer: Timer;
  const look = async (): Promise<void> => {
    const to = await readMoved(secrets);
    if (to?.url !== toldOf) told = new WeakSet();
    toldOf = to?.url;
    if (to === undefined) return;
    const untold = [...local.list()].filter((device) => !told.has(device));
    for (const device of untold) told.add(device);
    if (untold.length === 0) return;
    log.info({ url: to.url, devices: untold.length }, 'devices are told that their community has moved');
    local.move(
      untold,
      Math.min(HUB_LIMITS.movedOverMsMax, untold.length * HUB_LIMITS.movedPerDeviceMs),
      'the community has moved',
      to,
    );
  };
  const round = (): void => {
    timer = clock.after(HUB_LIMITS.movedReadMs, round);
    look().catch((error: unknown) => log.error({ why: messageOf(error) }, 'where the community is could not be read'));
  };
  timer = clock.after(HUB_LIMITS.movedReadMs, round);
  return { stop: () => timer.cancel() };
}
