/** `idlewild sign-in providers`: which OpenID providers a community trusts to say who somebody is. */
import type { SignInProvider } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

export function addProviderCommands(signIn: Command): void {
  const providers = signIn
    .command('providers')
    .summary('say which OpenID providers people may sign in with')
    .description('Say which OpenID Connect providers people may sign in with, and who may join by one.')
    .addHelpText('after', '\nExample:\n  $ idlewild sign-in providers list');
  addAdd(providers);
  addList(providers);
  addRemove(providers);
}

interface AddOptions {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecretFile?: string;
  readonly allowDomain: readonly string[];
  readonly allowClaim: readonly string[];
  readonly role: string;
}

const several = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function addAdd(providers: Command): void {
  providers
    .command('add')
    .summary('trust a provider')
    .description(
      'Trust a provider. Whom it knows signs in here once a member has linked the account; with --allow-domain or ' +
        '--allow-claim its people also join by themselves.',
    )
    .argument('<name>', 'what the button says')
    .requiredOption('--issuer <url>', 'where it is, as it calls itself')
    .requiredOption('--client-id <id>', 'what it calls this hub')
    .option('--client-secret-file <file>', 'a file with the secret that it gave; it is kept sealed')
    .option('--allow-domain <domain>', 'people with a verified e-mail address of this domain may join', several, [])
    .option('--allow-claim <name=value>', 'people of whom it says this may join; all that are given', several, [])
    .option('--role <role>', 'what those get who join so', 'member')
    .addHelpText(
      'after',
      '\nExample:\n  $ idlewild sign-in providers add "The university" --issuer https://login.example.edu \\\n' +
        '      --client-id idlewild --client-secret-file secret.txt --allow-domain example.edu',
    )
    .action(async (name: string, options: AddOptions, command: Command) => {
      const context = contextOf(command);
      const { issuer, clientId, clientSecretFile, allowDomain, allowClaim, role } = options;
      const clientSecret = clientSecretFile === undefined ? undefined : await secretIn(clientSecretFile);
      const client = await context.client();
      const order = { name, issuer, clientId, clientSecret, allowDomains: allowDomain, allowClaims: allowClaim, role };
      const added = await client.signIn.providers.add(order);
      context.note('the provider has to know where people come back to:');
      context.show(added, () => [added.returnUrl]);
    });
}

async function secretIn(file: string): Promise<string> {
  const { readFileSync } = await import('node:fs');
  const { IdlewildError } = await import('@idlewild/protocol');
  try {
    const secret = readFileSync(file, 'utf8').trim();
    if (secret !== '') return secret;
  } catch (error) {
    throw new IdlewildError('usage', `${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  throw new IdlewildError('usage', `${file} is empty; write the secret of the client into it`);
}

const admissionText = ({ allowDomains, allowClaims }: SignInProvider): string =>
  [...allowDomains, ...allowClaims].join(', ') || 'whoever linked it';

function addList(providers: Command): void {
  providers
    .command('list')
    .summary('list the providers')
    .description('List the providers, and who may join by them.')
    .addHelpText('after', '\nExample:\n  $ idlewild sign-in providers list --json')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).signIn.providers.list();
      const nowMs = Date.now();
      context.show(all, () =>
        tableLines(
          ['NAME', 'ISSUER', 'WHO MAY JOIN', 'AS', 'ADDED', 'ID'].map((title) => ({ title })),
          all.map((one) => [
            one.name,
            one.issuer,
            admissionText(one),
            one.role,
            whenText(one.createdAt, nowMs),
            one.id,
          ]),
        ),
      );
    });
}

function addRemove(providers: Command): void {
  providers
    .command('remove')
    .summary('trust a provider no longer')
    .description('Trust a provider no longer. Whom it knew stays a member and needs another way to sign in.')
    .argument('<provider>', 'its id, the beginning of its id, or its name')
    .addHelpText('after', '\nExample:\n  $ idlewild sign-in providers remove "The university"')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { pick } = await import('../pick.ts');
      const { id, name } = pick(await client.signIn.providers.list(), wanted, 'provider');
      await client.signIn.providers.remove(id);
      context.show({ id, removed: true }, () => [`removed ${name}`]);
    });
}
