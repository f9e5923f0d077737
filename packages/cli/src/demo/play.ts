/**
 * The demonstration, scene by scene: three devices answer; one dies in the middle of an answer and nobody who only
 * reads the answer could tell; the same question, asked again in peace, gives the same text.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createClient, type ChatRequest, type Device } from '@idlewild/client';
import { IdlewildError, codeOf } from '@idlewild/protocol';
import { noteLine, timedAnswer } from '../commands/chat.ts';
import { STEWARD_KEY_FILE } from '../data-folder.ts';
import { EXIT } from '../exit-codes.ts';
import { readModelFolder } from '../models/model-folder.ts';
import { bytesText, rateText } from '../text/units.ts';
import { createScreen, type Screen } from './screen.ts';
import { DEVICE_NAMES, setStage, type Stage } from './stage.ts';

export interface DemoOptions {
  readonly once: boolean;
  readonly port: number;
  readonly data: string | undefined;
  readonly signal: AbortSignal;
}

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const MODEL = 'jacobean';
const FIRST_PROMPT = 'What news of the king?';
const SECOND_PROMPT = 'Speak to me of the sea, and of the ships that never came home.';
/** The model was trained on 192 tokens at a time; prompt and answer together stay within them. */
const ANSWER_TOKENS = 150;
const SEED = 1_611;
/** A few words, so that there is something before the cut. */
const PIECES_BEFORE_KILL = 12;
/** An answer that was over before its device could be killed is asked for again with the next seed. */
const TRIES_MAX = 8;
const READY_MS_MAX = 60_000;
const POLL_MS = 25;

/** Resolves with the exit code once everything that it started has ended. */
export async function playDemo(options: DemoOptions): Promise<number> {
  const { signal } = options;
  const screen = createScreen();
  const data = resolve(options.data ?? join(ROOT, '.idlewild', 'demo'));
  screen.line();
  screen.line(`${screen.style('bold', 'Idlewild')}  AI from idle devices, for everyone who shares one.`);
  screen.line();
  const stage = await setStage(data, options.port);
  /** Ends with what ends first: the work, a process that dies, or the one who watches. */
  const during = <Result>(work: Promise<Result>): Promise<Result> => {
    // What loses the race is told by nobody.
    work.catch(() => undefined);
    return Promise.race([work, stage.broken, aborted(signal)]);
  };
  try {
    const isEqual = await during(play(stage, screen, signal));
    if (!options.once) {
      await during(leaveScene(stage, screen, data, signal));
      await during(stage.broken).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    }
    return isEqual ? EXIT.ok : EXIT.failed;
  } finally {
    if (signal.aborted) screen.line(screen.style('dim', 'stopping the hub and the devices'));
    await stage.stop();
  }
}

/** Whether the broken answer and the peaceful one were equal. */
async function play(stage: Stage, screen: Screen, signal: AbortSignal): Promise<boolean> {
  await openScene(stage, screen, signal);
  await firstAnswer(stage, screen, signal);
  return plugScene(stage, screen, signal);
}

/**
 * The first device starts while the model is published, and the others once it has measured itself: on two cores, three
 * measurements at once would take three times as long and say less.
 */
async function openScene(stage: Stage, screen: Screen, signal: AbortSignal): Promise<void> {
  const { client } = stage;
  const [first, ...others] = DEVICE_NAMES;
  const publishing = readModelFolder(join(ROOT, 'models', MODEL), { signal, onProgress: () => undefined }).then(
    (model) =>
      client.models.upload({ name: MODEL, replace: true, manifest: model.manifest, files: model.files, signal }),
  );
  const [added] = await Promise.all([publishing, stage.startDevice(first)]);
  screen.line(`hub      ${stage.url}`);
  screen.line(`model    ${added.name}, ${bytesText(added.bytes)}, published`);
  await devicesReady(stage, 1, signal);
  await Promise.all(others.map((name) => stage.startDevice(name)));
  screen.line(`devices  ${DEVICE_NAMES.join(', ')}: three processes that lend themselves, each by its own consent`);
  screen.line();
}

async function firstAnswer(stage: Stage, screen: Screen, signal: AbortSignal): Promise<void> {
  let firstMs: number | undefined;
  screen.prompt(FIRST_PROMPT);
  const answer = await timedAnswer(
    stage.client,
    ask(FIRST_PROMPT, SEED),
    (text) => {
      firstMs ??= performance.now();
      screen.piece(text);
    },
    signal,
  );
  screen.end();
  const since = ((firstMs ?? performance.now()) / 1_000).toFixed(1);
  screen.line(screen.style('dim', `${noteLine(answer)} · first token ${since} s after the start`));
  screen.line();
}

/** The plug is pulled in the middle of an answer; then the same is asked in peace, and the two are compared. */
async function plugScene(stage: Stage, screen: Screen, signal: AbortSignal): Promise<boolean> {
  const ready = await devicesReady(stage, DEVICE_NAMES.length, signal);
  for (const device of ready)
    screen.line(
      `${device.name.padEnd(8)} ${device.state} · ${rateText(device.tokensPerSecond)} tokens/s · ` +
        `process ${stage.pidOf(device.id) ?? '–'}`,
    );
  screen.line();
  screen.line(
    `${screen.style('bold', 'Now we pull the plug')} on the device that answers, in the middle of its answer.`,
  );
  screen.line();
  for (let seed = SEED; seed < SEED + TRIES_MAX; seed++) {
    const broken = await interrupted(stage, screen, seed, signal);
    if (broken === undefined) continue;
    const peaceful = await timedAnswer(stage.client, ask(SECOND_PROMPT, seed), () => undefined, signal);
    screen.line('The same question with the same seed, and nobody dies:');
    const isEqual = peaceful.text === broken.text;
    const verdict = isEqual
      ? screen.style(['bold', 'green'], `✓ equal, all ${broken.text.length} characters`)
      : screen.style(
          ['bold', 'red'],
          `✗ not equal: they part after ${commonLength(peaceful.text, broken.text)} characters`,
        );
    screen.line(verdict);
    screen.line();
    await stage.startDevice(broken.killed.name);
    await devicesReady(stage, DEVICE_NAMES.length, signal);
    screen.line(`${broken.killed.name} was started again and is back.`);
    screen.line();
    return isEqual;
  }
  throw new IdlewildError('internal', `${TRIES_MAX} answers in a row were over before their device could be killed`);
}

interface Interrupted {
  readonly text: string;
  readonly killed: Device;
}

/** One answer whose device is killed in the middle; `undefined` when the answer was over before that. */
async function interrupted(
  stage: Stage,
  screen: Screen,
  seed: number,
  signal: AbortSignal,
): Promise<Interrupted | undefined> {
  const hand = createHand(stage, signal);
  screen.prompt(SECOND_PROMPT);
  const answer = await timedAnswer(
    stage.client,
    ask(SECOND_PROMPT, seed),
    (text) => {
      const pulled = hand.feel();
      if (pulled !== undefined) screen.mark(`kill -9 ${pulled}`);
      screen.piece(text);
    },
    signal,
  );
  screen.end();
  const killed = hand.killed();
  if (killed !== undefined && answer.idlewild.failovers > 0) {
    screen.line(screen.style('dim', `${noteLine(answer)} · silent for ${hand.gapMs()} ms`));
    screen.line();
    return { text: answer.text, killed };
  }
  screen.line(screen.style('dim', 'that answer was over before the plug was out; once more, with another seed'));
  screen.line();
  if (killed !== undefined) {
    await stage.startDevice(killed.name);
    await devicesReady(stage, DEVICE_NAMES.length, signal);
  }
  return undefined;
}

interface Hand {
  /** Called with each piece of the answer; says what it has killed, once. */
  feel(): string | undefined;
  killed(): Device | undefined;
  /** The longest silence since the kill. */
  gapMs(): number;
}

/** Finds out which device answers, and kills it when enough has been said. */
function createHand({ client, kill, pidOf }: Stage, signal: AbortSignal): Hand {
  let pieces = 0;
  let looking = false;
  let device: Device | undefined;
  let killed: Device | undefined;
  let lastMs = 0;
  let gapMs = 0;
  const look = async (): Promise<void> => {
    looking = true;
    device = (await client.devices.list({ signal })).find(({ active }) => active > 0);
    looking = false;
  };
  return {
    feel() {
      pieces++;
      const nowMs = performance.now();
      if (killed !== undefined) gapMs = Math.max(gapMs, nowMs - lastMs);
      lastMs = nowMs;
      // A look that fails is made up for by the next; without any the scene is played again.
      if (device === undefined && !looking)
        look().catch(() => {
          looking = false;
        });
      if (device === undefined || killed !== undefined || pieces < PIECES_BEFORE_KILL) return undefined;
      const pid = pidOf(device.id);
      kill(device.id);
      killed = device;
      return `${device.name}, process ${pid ?? '–'}`;
    },
    killed: () => killed,
    gapMs: () => Math.round(gapMs),
  };
}

async function leaveScene(stage: Stage, screen: Screen, data: string, signal: AbortSignal): Promise<void> {
  const key = await callerKey(stage, data, signal);
  const { style } = screen;
  const body = JSON.stringify({
    model: MODEL,
    messages: [{ role: 'user', content: FIRST_PROMPT }],
    stream: true,
    max_tokens: ANSWER_TOKENS,
  });
  screen.line(`${style('bold', 'It stays up.')} ${DEVICE_NAMES.join(', ')} go on answering until Ctrl-C.`);
  screen.line();
  screen.line(`hub   ${style('bold', stage.url)}   (OpenAI clients: ${stage.url}/v1)`);
  screen.line(`key   ${style('bold', key)}   (a caller's)`);
  screen.line();
  screen.line('Ask with curl:');
  process.stdout.write(
    `curl -N ${stage.url}/v1/chat/completions -H 'authorization: Bearer ${key}' ` +
      `-H 'content-type: application/json' -d '${body}'\n`,
  );
  screen.line();
  screen.line('Ask from another terminal:');
  process.stdout.write(`IDLEWILD_HUB=${stage.url} IDLEWILD_KEY=${key} npx idlewild chat\n`);
  screen.line();
  screen.line('Let another device on this machine join:');
  const steward = join(data, 'hub', STEWARD_KEY_FILE);
  process.stdout.write(`npx idlewild --hub ${stage.url} --key "$(cat '${steward}')" invite\n`);
  screen.line();
  screen.line(style('dim', 'This hub listens on loopback. One that other machines can join, over TLS:'));
  screen.line(style('dim', 'npx idlewild up --host 0.0.0.0 --port 7861     and then     npx idlewild invite'));
  screen.line();
}

/** The key of an earlier start while it is good, or a new one. */
async function callerKey({ client, url }: Stage, data: string, signal: AbortSignal): Promise<string> {
  const file = join(data, 'caller.key');
  if (existsSync(file)) {
    const kept = readFileSync(file, 'utf8').trim();
    const isGood = await createClient({ hub: url, key: kept })
      .modelNames({ signal })
      .then(
        () => true,
        (error: unknown) => {
          if (codeOf(error) === 'unauthenticated') return false;
          throw error;
        },
      );
    if (isGood) return kept;
  }
  const { key } = await client.keys.create({ role: 'caller', name: 'demo' }, { signal });
  writeFileSync(file, `${key}\n`, { mode: 0o600 });
  return key;
}

/** The devices that answer with the model, once there are `count` of them. */
async function devicesReady({ client }: Stage, count: number, signal: AbortSignal): Promise<Device[]> {
  for (const endMs = performance.now() + READY_MS_MAX; performance.now() < endMs;) {
    const ready = (await client.devices.list({ signal })).filter(
      ({ state, models }) => state === 'ready' && models.includes(MODEL),
    );
    if (ready.length >= count) return ready;
    await setTimeout(POLL_MS, undefined, { signal });
  }
  throw new IdlewildError(
    'no_device',
    `${count} devices were not ready within ${READY_MS_MAX / 1_000} s; their logs are device.log in their folders`,
  );
}

const ask = (content: string, seed: number): ChatRequest => ({
  model: MODEL,
  messages: [{ role: 'user', content }],
  seed,
  temperature: 0.8,
  max_tokens: ANSWER_TOKENS,
});

function commonLength(left: string, right: string): number {
  let length = 0;
  while (length < left.length && left[length] === right[length]) length++;
  return length;
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    const fail = (): void => reject(new IdlewildError('cancelled', 'interrupted'));
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
