/**
 * `idlewild join`: lends this machine. Nothing runs before its lender has said yes, on a terminal or with --yes; what
 * was agreed is kept, so a later `idlewild join` needs neither address nor token nor question.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { AgentState, Log } from '@idlewild/agent';
import type { LentDevice } from '@idlewild/agent/node';
import { Option, type Command } from 'commander';
import { calledAs, contextOf, type Context } from '../context.ts';
import { deviceFolder } from '../data-folder.ts';
import { EXIT, exitOf } from '../exit-codes.ts';
import { createLiveLine } from '../text/live-line.ts';
import { plainText } from '../text/units.ts';
import { addLendingOptions, saysSomething, type LendingFlags } from './lending-options.ts';

interface JoinOptions extends LendingFlags {
  readonly token?: string;
  readonly name?: string;
  readonly data?: string;
  readonly yes?: boolean;
  readonly interface?: string;
  readonly stopWithStdin?: boolean;
  readonly asService?: boolean;
}

const DRAIN_MS_MAX = 10_000;

export function addJoinCommand(program: Command): void {
  const command = program
    .command('join')
    .summary('lend this machine to a community')
    .description(
      'Lend this machine to a community. It asks before anything runs; Ctrl-C ends the lending after the answers ' +
        'under way. Without an address and an invite, the first time, it lists the hubs that this network tells of.',
    )
    .argument('[url]', "the hub's address, as `idlewild invite` told it; a later join knows it")
    .option('--token <token>', "the invite's token; - reads it from stdin")
    .option('--name <name>', 'what this device is called (default: the name of the machine)')
    .option('--data <dir>', 'where its key, its consent and the models are kept (default: your data folder)')
    .option('--yes', 'agree without being asked, for scripts (default preset: balanced)');
  addLendingOptions(command)
    .option('--interface <address>', 'without an address: listen for hubs on this one network only')
    .addOption(new Option('--stop-with-stdin', 'stop when stdin ends').hideHelp())
    .addOption(new Option('--as-service', 'end well where starting again cannot help').hideHelp())
    .addHelpText(
      'after',
      `
Example:
  $ idlewild join https://10.0.0.5:7860 --token iwj1.pGF1…
  $ idlewild join                      again, with what was agreed; at first, what hubs there are
  $ idlewild join --hours "mon-fri 20:00-07:00; sat-sun" --cpu 30%      from now on; the rest as agreed

While it runs, the key p pauses and resumes; a script sends SIGUSR2.`,
    )
    .action(async (url: string | undefined, options: JoinOptions, command: Command) => {
      const context = contextOf(command);
      if (knowsNobody(url, options)) {
        const { showHubs } = await import('../lan/show-hubs.ts');
        return showHubs(context, { interface: options.interface });
      }
      const lending = lend(context, url, options);
      return options.asService === true ? endingWell(lending) : lending;
    });
}

/** Neither an address nor an invite, nor a hub joined before. Who says yes beforehand wants to lend, and not a list. */
const knowsNobody = (url: string | undefined, options: JoinOptions): boolean =>
  url === undefined &&
  options.token === undefined &&
  options.yes !== true &&
  options.asService !== true &&
  !existsSync(join(deviceFolder(options.data), 'device.json'));

async function lend(context: Context, url: string | undefined, options: JoinOptions): Promise<void> {
  const data = deviceFolder(options.data);
  // What the work needs is loaded while the token is on its way; with --yes nothing else stands between.
  const loading = options.yes === true ? import('@idlewild/agent/node') : undefined;
  const invite = options.token === '-' ? await readFirstLine() : options.token;
  const isFirst = !existsSync(join(data, 'device.json'));
  const name = options.name ?? (isFirst ? hostname().slice(0, 64) : undefined);
  const { address, pin } = url === undefined ? {} : await parseAddress(url);
  if (isFirst && invite === undefined) await refuseWithoutInvite(data);
  // Before anything is asked, and before there is a folder: half of an invite is a common mistake.
  if (invite !== undefined) (await import('@idlewild/protocol')).decodeInvite(invite);
  const { yes = false } = options;
  const asksConsent = invite !== undefined || !existsSync(join(data, 'consent.json')) || saysSomething(options);
  const agreed = asksConsent
    ? await (
        await import('../agree.ts')
      ).agree({ flags: options, yes, json: context.json, address, invite, name, data })
    : undefined;
  const { untilTold } = await import('../processes/until-told.ts');
  const { told } = untilTold(options.stopWithStdin === true);
  const { startNodeAgent } = await (loading ?? import('@idlewild/agent/node'));
  const live = createLiveLine(process.stderr, !context.json);
  const say = (line: string): void => {
    live.clear();
    context.note(line);
  };
  if (!asksConsent || yes) say(`what this device has is kept in ${data}`);
  const tell = context.json ? createStateLines(context) : (state: AgentState): void => live.state(state);
  live.say('measuring this machine');
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const { deviceLog } = await import('../processes/device-log.ts');
  const log = deviceLog(join(data, 'device.log'));
  const agent = await startNodeAgent({
    data,
    name,
    invite,
    url: address,
    pin,
    log,
    onState: tell,
    onMoved: (hub) => say(movedText(hub, address)),
    consent: agreed?.choice,
    lending: agreed?.settings,
  })
    .finally(live.clear)
    .catch((thrown: unknown) => {
      const { code, message } = thrown as { code?: string; message: string };
      // Who has the folder has its log, too.
      if (code !== 'data_locked') log('error', message, { code });
      throw thrown;
    });
  const stopKeys = takeKeys({ agent, context, log });
  const ended = await Promise.race([agent.ended, told.then(() => 'told' as const)]);
  stopKeys();
  if (ended === 'told') {
    live.say('finishing what is under way; Ctrl-C again stops at once');
    await stopWithin(agent, DRAIN_MS_MAX);
  }
  live.clear();
  if (ended !== 'told' && ended !== undefined) throw ended;
  const left = agent.left();
  if (left !== undefined) return context.note(`this device has left for good; the receipt is ${left.receipt}`);
  context.note(`the lending has ended; \`${againText(options)}\` goes on with what was agreed`);
}

/** What starts programs again would do so for ever where a person has to act: that ends well, and the log says why. */
async function endingWell(lending: Promise<void>): Promise<void> {
  try {
    await lending;
  } catch (error) {
    const { code = '', message } = error as { code?: string; message: string };
    if (code !== 'data_corrupt' && ![EXIT.usage, EXIT.refused].some((exit) => exit === exitOf(code))) throw error;
    process.stderr.write(`${plainText(message)}; it is not started again\n`);
  }
}

/** Who wrote the former address may want to go there. */
function movedText({ url, from }: { readonly url: string; readonly from: string }, told: string | undefined): string {
  const where = `its hub is at ${url} now, and no longer at ${from}`;
  return told === undefined ? where : `${where}; an invite or #pin=… with an address goes there all the same`;
}

function againText({ data }: JoinOptions): string {
  const words = `${calledAs()} join`;
  if (data === undefined) return words;
  return `${words} --data ${/^[\w./:@%+=-]+$/.test(data) ? data : `'${data.replaceAll("'", "'\\''")}'`}`;
}

interface HubAddress {
  readonly address?: string;
  readonly pin?: Uint8Array;
}

async function parseAddress(text: string): Promise<HubAddress> {
  const [{ hubAddress }, { splitPin }] = await Promise.all([import('@idlewild/client'), import('../pinned-fetch.ts')]);
  const { url, pin } = splitPin(text);
  const address = hubAddress(url);
  return pin === undefined ? { address } : { address, pin: new Uint8Array(Buffer.from(pin, 'base64url')) };
}

async function refuseWithoutInvite(data: string): Promise<never> {
  const { IdlewildError } = await import('@idlewild/protocol');
  throw new IdlewildError(
    'usage',
    `no device has joined from ${data} yet; ask a steward for an invite and write idlewild join URL --token TOKEN`,
  );
}

/** Up to the first line's end; what follows is left where it is. */
async function readFirstLine(): Promise<string> {
  let text = '';
  await new Promise<void>((done) => {
    const onData = (chunk: string): void => {
      text += chunk;
      if (!text.includes('\n')) return;
      process.stdin.pause().off('data', onData).off('end', done);
      done();
    };
    process.stdin.setEncoding('utf8').on('data', onData).once('end', done);
  });
  return text.split('\n')[0]?.trim() ?? '';
}

/** One JSON line for each change of state, from the first connection on. */
function createStateLines(context: Context): (state: AgentState) => void {
  let told = '';
  return (state) => {
    const { deviceId, name, pauseReasons, problem } = state;
    const models = state.models.map(({ cid, state: its, reason }) => ({
      cid,
      state: its,
      ...(reason === undefined ? {} : { reason }),
    }));
    const line = {
      deviceId,
      name,
      state: state.state,
      pauseReasons,
      models,
      ...(problem === undefined ? {} : { problem }),
    };
    const text = JSON.stringify(line);
    if (text === told || (told === '' && state.state === 'offline')) return;
    told = text;
    context.printJson({ ...line, tokensPerSecond: state.tokensPerSecond });
  };
}

interface KeysOf {
  readonly agent: LentDevice;
  readonly context: Context;
  readonly log: Log;
}

/** The lender's hand on the switch. Returns what lets go of the terminal. */
function takeKeys({ agent, context, log }: KeysOf): () => void {
  const toggle = (): void => {
    const isPaused = agent.state().pauses.some(({ name }) => name === 'lender');
    const changing = isPaused ? agent.control.resume() : agent.control.pause({});
    changing.catch((thrown: unknown) => log('error', `keeping the pause: ${(thrown as Error).message}`));
  };
  // Windows has no such signal.
  if (process.platform !== 'win32') process.on('SIGUSR2', toggle);
  const { stdin } = process;
  if (context.json || !stdin.isTTY) return () => undefined;
  const onKey = (key: Buffer): void => {
    const text = key.toString();
    if (text === 'p') toggle();
    // A terminal in raw mode hands Ctrl-C over as a character.
    else if (text === '\u0003') process.kill(process.pid, 'SIGINT');
  };
  stdin.setRawMode(true).resume().on('data', onKey);
  return () => stdin.setRawMode(false).pause().off('data', onKey);
}

async function stopWithin(agent: LentDevice, limitMs: number): Promise<void> {
  const timer = setTimeout(() => {
    void agent.stop({ drain: false });
  }, limitMs);
  await Promise.race([agent.stop({ drain: true }), agent.ended]);
  clearTimeout(timer);
}
