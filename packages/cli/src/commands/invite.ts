/** `idlewild invite`: a token with which a device joins. */
import type { Client, CreatedInvite, InviteRequest } from '@idlewild/client';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { calledAs, contextOf, type Context } from '../context.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { countText, whenText } from '../text/units.ts';

const EXPIRES_SECONDS_DEFAULT = 86_400;
const SECRET_BYTES = 16;

interface InviteOptions {
  readonly uses: number;
  readonly expires?: number;
  readonly tier: 'vetted' | 'member' | 'public';
  readonly for?: string;
  readonly pool?: string;
  readonly vouch?: boolean;
  readonly vouchExpires?: number;
}

export function addInviteCommand(program: Command): void {
  program
    .command('invite')
    .summary('make a token with which a device joins')
    .description(
      "Make a token with which a device joins. It carries the hub's address, the community's key and the fingerprint " +
        "of the hub's TLS key; of a hub behind a balancer, that devices have to seal what they say up to the hub.",
    )
    .option('--uses <count>', 'how many devices may join with it', parseCount, 1)
    .option('--expires <duration>', 'how long it is good for, like 90m or 24h (default: 24h)', parseDurationSeconds)
    .addOption(
      new Option('--tier <tier>', 'how far the devices are trusted; public for an invite that anybody may have')
        .choices(['vetted', 'member', 'public'])
        .default('member'),
    )
    .option('--for <member>', 'whose devices they are: name or id of a member')
    .option('--pool <pool>', 'into which pool they are put: one that there is (`idlewild devices pool list`)')
    .option('--vouch', 'sign for whoever joins by it, so that no hub can put another device in its place')
    .option(
      '--vouch-expires <duration>',
      'how long that word lasts (default: 90d; a year at most)',
      parseDurationSeconds,
    )
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild invite --uses 30 --expires 2h\n  $ idlewild invite --tier vetted --vouch',
    )
    .action(async (options: InviteOptions, command: Command) => {
      const { uses, expires = EXPIRES_SECONDS_DEFAULT, tier, for: member, pool } = options;
      const context = contextOf(command);
      const client = await context.client();
      const { memberMeant } = await import('../meant.ts');
      const person = member === undefined ? undefined : (await memberMeant(client, member, 'createInvite')).id;
      const request = { uses, expiresInSeconds: expires, tier, for: person, pool };
      const invite =
        options.vouch === true
          ? await vouchedInvite(context, client, request, options.vouchExpires)
          : await client.invites.create(request);
      const { url, token, expiresAt } = invite;
      const { decodeInvite } = await import('@idlewild/protocol');
      if (decodeInvite(token).session === true) {
        context.note(`devices seal what they say up to the hub: what is at ${url} reads and changes nothing of it`);
      }
      const into = pool === undefined ? '' : ` of the pool ${pool}`;
      context.note(
        `for ${countText(uses, 'device')}${into}, good ${whenText(expiresAt, Date.now()).replace(/^in/, 'for')}; ` +
          'on the machine to be lent:',
      );
      context.show({ url, token, expiresAt }, () => [`${calledAs()} join ${url} --token ${token}`]);
    });
}

/** Its secret is made here, and is in the token alone: the hub is shown what it needs to know it again. */
async function vouchedInvite(
  context: Context,
  client: Client,
  request: InviteRequest,
  expiresSeconds?: number,
): Promise<CreatedInvite> {
  const { encodeInvite, hex, inviteKey, inviteToken, signInviteVouch, utf8, wellKnownKey } =
    await import('@idlewild/protocol');
  const { nodeCrypto, nodeRandom } = await import('@idlewild/protocol/node');
  const { VOUCH_SECONDS_DEFAULT, bytesOf, readyToVouch } = await import('../vouching.ts');
  const ready = await readyToVouch(context, client, expiresSeconds ?? VOUCH_SECONDS_DEFAULT);
  const secret = nodeRandom.bytes(SECRET_BYTES);
  const { publicKey: invite } = await inviteKey(secret, nodeCrypto);
  const { tier = 'member' } = request;
  const said = { territory: ready.territory, invite, tier, ...ready.lasting };
  const vouch = wellKnownKey(await signInviteVouch(said, ready.key, nodeCrypto));
  const tokenHash = hex(await nodeCrypto.sha256(utf8(await inviteToken(secret, nodeCrypto))));
  const place = await client.invites.createVouched({ ...request, vouched: { tokenHash, vouch } });
  const { url, pin, session, expiresAt } = place;
  const token = encodeInvite({
    url,
    secret,
    territory: ready.territory,
    vouched: true,
    session,
    ...(pin === null ? {} : { pin: bytesOf(pin) }),
  });
  context.note(`you vouch for whoever joins by it; callers pin your key: ${ready.pin}`);
  return { url, token, expiresAt };
}

export function parseCount(text: string): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count < 1) throw new InvalidArgumentError('It must be a whole number, 1 or more.');
  return count;
}
