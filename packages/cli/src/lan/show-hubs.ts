/**
 * What `idlewild join` does for one who has neither an address nor an invite: it lists the hubs that the network tells
 * of, lets the person choose, and says what is still needed. It joins nothing: an invite carries the community's key,
 * and nothing that was heard can stand in for it.
 */
import { IdlewildError } from '@idlewild/protocol';
import { bold, type Context } from '../context.ts';
import { factLines, tableLines } from '../text/table.ts';
import { LAN_LIMITS } from './limits.ts';
import { hearHubs } from './listen.ts';
import type { HeardHub } from './record.ts';
import type { LanOptions } from './socket.ts';

/** Throws `not_found` when people are told that nothing was heard; a script gets an empty array. */
export async function showHubs(context: Context, options: LanOptions): Promise<void> {
  context.note(`listening for hubs on this network for ${LAN_LIMITS.listenMs / 1_000} s`);
  const hubs = await hearHubs(options);
  if (context.json) return context.printJson(hubs);
  if (hubs.length === 0) throw nothingHeard();
  const chosen = await choose(hubs);
  if (chosen === undefined) {
    for (const line of hubTable(hubs)) context.print(line);
    context.print('');
    context.print(
      'Each lets in who has an invite: ask a steward of the community, who makes one with idlewild invite.',
    );
  } else for (const line of nextStep(chosen)) context.print(line);
  context.print('Anybody can announce anything on a network: an invite names the community by its id, so compare.');
}

const nothingHeard = (): IdlewildError =>
  new IdlewildError(
    'not_found',
    'no hub announces itself on this network. A steward announces one with idlewild up --announce; ' +
      'with an invite no announcement is needed: write idlewild join URL --token TOKEN',
  );

/** `undefined` where nobody can be asked. */
async function choose(hubs: readonly HeardHub[]): Promise<HeardHub | undefined> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return undefined;
  const { isCancel, select } = await import('@clack/prompts');
  const picked = await select({
    message: 'Which community?',
    options: hubs.map((hub, index) => ({
      value: index,
      label: `${hub.territory.name} at ${hub.urls[0]}`,
      hint: `${hub.territory.id}, ${encryption(hub)}`,
    })),
  });
  if (isCancel(picked)) throw new IdlewildError('cancelled', 'no hub was chosen');
  return hubs[picked];
}

const encryption = ({ isEncrypted }: HeardHub): string => (isEncrypted ? 'encrypted' : 'NOT encrypted');

export const hubTable = (hubs: readonly HeardHub[]): string[] =>
  tableLines(
    [{ title: 'COMMUNITY' }, { title: 'HUB' }, { title: 'FINGERPRINT OF ITS KEY' }, { title: 'ENCRYPTED' }],
    hubs.map(({ territory, urls, isEncrypted }) => [
      territory.name,
      urls[0] ?? '',
      territory.id,
      isEncrypted ? 'yes' : 'NO',
    ]),
  );

function nextStep(hub: HeardHub): string[] {
  return [
    bold('An invite is needed.', process.stdout),
    `Ask a steward of ${hub.territory.name} for one; they make it with idlewild invite and send you a line like`,
    '',
    `  idlewild join ${hub.urls[0]} --token iwj1.…`,
    '',
    ...factLines([
      ['community', `${hub.territory.name} (${hub.territory.id})`],
      ['addresses', hub.urls.join(', ')],
      ['version', hub.version],
    ]),
    '',
  ];
}
