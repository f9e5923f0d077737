/** `idlewild proxy`: OpenAI's endpoints on this machine, end-to-end encrypted on their way to a device. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { contextOf, type GlobalOptions } from '../context.ts';
import { several } from '../several.ts';

interface ProxyCommandOptions {
  readonly host: string;
  readonly port: number;
  readonly steward: readonly string[];
  readonly territory?: string;
  readonly tier: readonly ('vetted' | 'member' | 'public')[];
  readonly model: readonly string[];
  readonly verify?: 'score' | 'again';
  readonly tellNeeds?: boolean;
  readonly token?: string;
  readonly stopWithStdin?: boolean;
}

const PORT_DEFAULT = 7_861;

const portOf = (text: string): number => {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InvalidArgumentError('It must be a port, 0 to 65535.');
  return port;
};

export function addProxyCommand(program: Command): void {
  program
    .command('proxy')
    .summary('encrypt prompts end to end for any OpenAI client on this machine')
    .description(
      'Open an endpoint on this machine that speaks as OpenAI does and encrypts every prompt end to end: to one ' +
        'device for which a steward vouches whose key you pinned. The hub sees lengths and timing. What cannot be ' +
        'encrypted is refused; nothing is ever sent in the open.',
    )
    .option('--port <port>', 'where it listens; 0 takes a free one', portOf, PORT_DEFAULT)
    .option(
      '--host <address>',
      'on which address; on any other than loopback others on the network can ask',
      '127.0.0.1',
    )
    .option('--steward <key>', "a steward's public key that you pin; may be repeated", several, [])
    .option('--territory <key>', "the community's public key, where you pin that, too")
    .addOption(
      new Option('--tier <tier...>', 'only to devices of these tiers')
        .choices(['vetted', 'member', 'public'])
        .default([]),
    )
    .option('--model <name=cid>', 'only this very model under that name; may be repeated', several, [])
    .addOption(
      new Option(
        '--verify [how]',
        'have a second device check every answer, and say whether it was the same: score its tokens, or make it again',
      )
        .choices(['score', 'again'])
        .preset('score'),
    )
    .option('--tell-needs', 'tell the hub which prompts use tools, JSON, log probabilities or biases')
    .addOption(
      new Option('--token <token>', 'what clients show as their API key (default: a new one)').env(
        'IDLEWILD_PROXY_TOKEN',
      ),
    )
    .addOption(new Option('--stop-with-stdin').hideHelp())
    .addHelpText(
      'after',
      '\nExample:\n  $ idlewild proxy --steward 3q2-7wAA…\n\n' +
        'Then give a client OPENAI_BASE_URL and OPENAI_API_KEY as it prints them.',
    )
    .action(async (options: ProxyCommandOptions, command: Command) => {
      const context = contextOf(command);
      const { openHubAddress } = await import('../hub-access.ts');
      const { pinnedStewards, readKey } = await import('../proxy/trusted.ts');
      const { startProxy } = await import('../proxy/proxy.ts');
      const { isLoopbackName } = await import('../proxy/guard.ts');
      const { seenRulesIn } = await import('../seen-rules.ts');
      const { untilTold } = await import('../processes/until-told.ts');
      const { randomBytes } = await import('node:crypto');
      const { hub, key, fetch, keyNote } = openHubAddress(command.optsWithGlobals<GlobalOptions>());
      if (keyNote !== undefined) context.note(keyNote);
      const token = options.token ?? randomBytes(24).toString('base64url');
      const proxy = await startProxy({
        hub,
        key,
        fetch,
        stewards: pinnedStewards(options.steward),
        territory: options.territory === undefined ? undefined : readKey(options.territory, "community's key"),
        tiers: options.tier.length === 0 ? undefined : options.tier,
        models: await modelsOf(options.model),
        verify: options.verify,
        tellNeeds: options.tellNeeds === true,
        seenRules: seenRulesIn(),
        host: options.host,
        port: options.port,
        token,
      });
      if (!isLoopbackName(options.host))
        context.note('others on this network can reach it, and what they send is in the open until it is here');
      context.show({ url: `${proxy.url}/v1`, token, hub }, () => [
        `prompts are encrypted end to end from here to a device; the hub is ${hub}`,
        '',
        `  OPENAI_BASE_URL=${proxy.url}/v1`,
        `  OPENAI_API_KEY=${token}`,
      ]);
      await untilTold(options.stopWithStdin === true).told;
      await proxy.close();
    });
}

async function modelsOf(pairs: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const { IdlewildError } = await import('@idlewild/protocol');
  return new Map(
    pairs.map((pair) => {
      const [, name, cid] = /^([^=]+)=(\S+)$/.exec(pair) ?? [];
      if (name === undefined || cid === undefined)
        throw new IdlewildError('usage', `--model ${pair}: write the model's name, "=" and its CID`);
      return [name, cid];
    }),
  );
}
