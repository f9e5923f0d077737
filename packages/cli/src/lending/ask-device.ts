/** The device of a folder, as a command finds it: running, and asked through its socket; at rest; or not there. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openControl, openDataFolder, type ControlClient, type DataFolder } from '@idlewild/agent/node';
import { IdlewildError } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { calledAs } from '../context.ts';

/** Throws `not_found` where no device has joined from. */
export function checkJoined(data: string): void {
  if (existsSync(join(data, 'device.json'))) return;
  throw new IdlewildError('not_found', `no device is lent from ${data}; \`${calledAs()} join\` lends one`);
}

/** Does the one where the device runs, and otherwise the other, with the folder held. */
export async function withDevice<Result>(
  data: string,
  running: (client: ControlClient) => Promise<Result>,
  resting: (folder: DataFolder) => Promise<Result>,
): Promise<Result> {
  checkJoined(data);
  const client = await openControl(data);
  if (client !== undefined) {
    try {
      return await running(client);
    } finally {
      client.close();
    }
  }
  const folder = await openDataFolder(data, { clock: systemClock, random: nodeRandom, crypto: nodeCrypto });
  try {
    return await resting(folder);
  } finally {
    folder.close();
  }
}
