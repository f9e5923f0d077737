/** `idlewild invite`: a token with which a device joins. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { calledAs, contextOf } from '../context.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { countText, whenText } from '../text/units.ts';

const EXPIRES_SECONDS_DEFAULT = 86_400;

interface InviteOptions {
  readonly uses: number;
  readonly expires?: number;
  readonly tier: 'vetted' | 'member' | 'public';
  readonly for?: string;
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
    .addHelpText('after', '\nExample:\n  $ idlewild invite --uses 30 --expires 2h')
    .action(async ({ uses, expires = EXPIRES_SECONDS_DEFAULT, tier, for: member }: InviteOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { memberMeant } = await import('../meant.ts');
      const person = member === undefined ? undefined : (await memberMeant(client, member)).id;
      const invite = await client.invites.create({ uses, expiresInSeconds: expires, tier, for: person });
      const { url, token, expiresAt } = invite;
      const { decodeInvite } = await import('@idlewild/protocol');
      if (decodeInvite(token).session === true) {
        context.note(`devices seal what they say up to the hub: what is at ${url} reads and changes nothing of it`);
      }
      context.note(
        `for ${countText(uses, 'device')}, good ${whenText(expiresAt, Date.now()).replace(/^in/, 'for')}; ` +
          'on the machine to be lent:',
      );
      context.show({ url, token, expiresAt }, () => [`${calledAs()} join ${url} --token ${token}`]);
    });
}

export function parseCount(text: string): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count < 1) throw new InvalidArgumentError('It must be a whole number, 1 or more.');
  return count;
}
