/** `idlewild sign-in` and `sign-out`: being somebody on this machine, instead of asking with a key. */
import { hostname, userInfo } from 'node:os';
import type { Client, ProgramSession } from '@idlewild/client';
import type { Command } from 'commander';
import { bold, calledAs, contextOf, interruptSignal } from '../context.ts';
import { plainText, whenText } from '../text/units.ts';
import { addProviderCommands } from './sign-in-providers.ts';

export function addSignInCommands(program: Command): void {
  addSignIn(program);
  addSignOut(program);
}

/** As many as a hub looks at. */
const SESSIONS_MAX = 8;

interface SignInOptions {
  readonly code?: string;
  readonly name?: string;
  readonly asMyself?: boolean;
  readonly asSomebodyNew?: boolean;
}

function addSignIn(program: Command): void {
  const command = program
    .command('sign-in')
    .summary('sign in as a person')
    .description(
      'Sign in as a person of the community. You approve it in a browser where you are signed in, or give a one-time ' +
        'code. From then on commands for this hub ask as you, unless --key says otherwise; they need no --hub where ' +
        'you are signed in to one hub and this machine has none of its own.',
    )
    .option('--code <code>', 'a one-time code that a steward gave you, or its whole link; - reads it from stdin')
    .option('--name <name>', 'with a code: what you want to be called, if you are new here')
    .option('--as-myself', 'with an invitation: join as who you are in another community of this hub')
    .option('--as-somebody-new', 'with an invitation: join as somebody whom nothing connects with that')
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild sign-in --hub https://hub.example\n  $ idlewild sign-in --code -\n' +
        '  $ idlewild sign-in --hub https://hub.example/t/ter_… --code - --as-myself',
    )
    .action(async ({ code, name, ...as }: SignInOptions, self: Command) => {
      const context = contextOf(self);
      const given = code === undefined ? undefined : partsOf(await codeFrom(code));
      const { client, address } = await context.stranger(given?.hub);
      const session =
        given === undefined
          ? await approved(client)
          : await byCode(client, address, { code: given.code, name, label: ownLabel() }, as);
      const { keepSession, sessionsFile } = await import('../kept-sessions.ts');
      const { token, ...facts } = session;
      keepSession(address, { ...facts, token });
      context.note(`kept in ${sessionsFile()}, readable by you alone; ${calledAs()} sign-out ends it`);
      context.show({ hub: client.hub, ...facts }, () => [
        `signed in to ${client.hub}; expires ${whenText(session.expiresAt, Date.now())}`,
      ]);
    });
  addProviderCommands(command);
}

/** Who is signed in to another community of the hub says as whom to join; the code stays good until then. */
async function byCode(
  client: Client,
  address: string,
  request: { readonly code: string; readonly name: string | undefined; readonly label: string },
  { asMyself = false, asSomebodyNew = false }: Pick<SignInOptions, 'asMyself' | 'asSomebodyNew'>,
): Promise<ProgramSession> {
  const { IdlewildError } = await import('@idlewild/protocol');
  const usage = (message: string): Error => new IdlewildError('usage', message);
  if (asMyself && asSomebodyNew) throw usage('say --as-myself or --as-somebody-new, and not both');
  const { keptBeside } = await import('../kept-sessions.ts');
  const kept = asSomebodyNew ? [] : keptBeside(address).slice(0, SESSIONS_MAX);
  if (!asMyself && kept.length === 0) return client.signIn.withCode(request);
  const sessions = kept.map(({ token }) => token);
  const { kind, community, people } = await client.signIn.lookAtCode({ code: request.code, sessions });
  if (kind === 'link') return client.signIn.withCode(request);
  const names = people.map((one) => `${one.name} (${one.communities.join(', ')})`).join(' and ');
  const [one, another] = people;
  if (!asMyself) {
    if (one === undefined) return client.signIn.withCode(request);
    throw usage(`you are signed in to this hub as ${names}; join ${community} with --as-myself or --as-somebody-new`);
  }
  if (one === undefined)
    throw usage('nobody is signed in here to another community of this hub; sign in there first, then take the code');
  if (another !== undefined) throw usage(`several people are signed in here: ${names}; sign out who is not to join`);
  if (one.refusal !== null) throw new IdlewildError('forbidden', one.refusal);
  const own = kept.filter(({ person }) => person === one.person).map(({ token }) => token);
  return client.signIn.withCode({ ...request, sessions: own });
}

const ownLabel = (): string => `idlewild of ${userInfo().username} on ${hostname()}`.slice(0, 80);

/** What is on the command line can be read by other users of the machine. */
async function codeFrom(option: string): Promise<string> {
  if (option !== '-') return option;
  const { text } = await import('node:stream/consumers');
  return text(process.stdin);
}

/** The code, also out of a whole link, which says of which hub it is. */
function partsOf(given: string): { readonly code: string; readonly hub: string | undefined } {
  const [link = '', code] = given.trim().split('#code=');
  return code === undefined ? { code: link, hub: undefined } : { code, hub: link.replace(/\/sign-in$/, '') };
}

async function approved(client: Client): Promise<ProgramSession> {
  const { IdlewildError } = await import('@idlewild/protocol');
  const asked = await client.signIn.askApproval({ label: ownLabel() });
  const lines = [
    `Open ${plainText(asked.url)} in a browser, sign in, and type this code:`,
    '',
    `    ${plainText(asked.userCode)}`,
    '',
  ];
  // On stderr also with --json: without it nobody could go on.
  for (const line of lines) process.stderr.write(`${line === lines[2] ? bold(line, process.stderr) : line}\n`);
  const signal = interruptSignal();
  for (;;) {
    await pause(asked.askEveryMs, signal);
    if (signal.aborted) throw new IdlewildError('cancelled', 'interrupted; nobody was signed in');
    const session = await client.signIn.claim(asked.secret, { signal });
    if (session !== undefined) return session;
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { setTimeout } = await import('node:timers/promises');
  await setTimeout(ms, undefined, { signal }).catch(() => {});
}

function addSignOut(program: Command): void {
  program
    .command('sign-out')
    .summary('sign out')
    .description('Sign out: end the session of this machine, or all of yours everywhere.')
    .option('--everywhere', 'all of them, in browsers and programs')
    .addHelpText('after', '\nExample:\n  $ idlewild sign-out --everywhere')
    .action(async ({ everywhere = false }: { readonly everywhere?: boolean }, self: Command) => {
      const context = contextOf(self);
      const { address, signedIn } = await context.stranger();
      const { forgetSession } = await import('../kept-sessions.ts');
      if (signedIn === undefined) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError(
          'unauthenticated',
          `nobody is signed in to ${address} here; see: ${calledAs()} sign-in`,
        );
      }
      const ended = await endAt(signedIn, everywhere);
      // Only once it is over there: what is forgotten here could not be ended any more.
      forgetSession(address);
      context.show({ hub: signedIn.hub, ended }, () => [
        ended === 0 ? 'this session was over already' : `signed out${everywhere ? ` of ${ended} sessions` : ''}`,
      ]);
    });
}

/** How many were ended; one that the hub does not know any more is over. */
async function endAt(client: Client, everywhere: boolean): Promise<number> {
  try {
    if (everywhere) return (await client.signIn.sessions.endAll()).ended;
    await client.signIn.sessions.signOut();
    return 1;
  } catch (error) {
    if ((error as { code?: string }).code === 'unauthenticated') return 0;
    throw error;
  }
}
