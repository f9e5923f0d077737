/** Claims about a conversation: it goes back to the device that knows it, and outlives the devices that did. */
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { answering, untilReady } from './answers.ts';
import { createWorld, MODEL, type DeviceProcess, type HubProcess, type World } from './world.ts';

const TURNS = 10;
/** Turns in which the device that answers is killed after some words. */
const DEATHS: readonly number[] = [3, 6];
/** Paced, so that there is a middle of an answer to be killed in. */
const PACED = { tokensPerSecondMax: 150 };
const QUESTIONS = ['Who goes there?', 'What news?', 'And then?', 'Say it again.', 'Wherefore?'];

let world: World;
let hub: HubProcess;
let openai: OpenAI;
const devices = new Map<string, DeviceProcess>();

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  for (const name of ['ada', 'bea', 'cyd']) devices.set(name, await world.startDevice(hub, name, { consent: PACED }));
  await untilReady(hub.client, devices.size);
  openai = new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: hub.key, maxRetries: 0 });
});
afterAll(() => world.end());

type Message = { role: 'user' | 'assistant'; content: string };
interface Turn {
  readonly text: string;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly devices: readonly string[];
  readonly failovers: number;
  readonly exact: boolean;
}

async function talk(label: string, disturb: (turn: number, piece: number) => Promise<void>): Promise<Turn[]> {
  const messages: Message[] = [];
  const turns: Turn[] = [];
  for (let number = 0; number < TURNS; number++) {
    messages.push({ role: 'user', content: QUESTIONS[number % QUESTIONS.length] as string });
    const stream = await openai.chat.completions.create({
      model: MODEL,
      messages,
      seed: 20 + number,
      max_tokens: 24,
      stream: true,
      stream_options: { include_usage: true },
      prompt_cache_key: label,
    });
    let text = '';
    let pieces = 0;
    for await (const chunk of stream) {
      const added = chunk.choices[0]?.delta.content ?? '';
      text += added;
      if (added !== '') await disturb(number, ++pieces);
      if (chunk.usage === undefined || chunk.usage === null) continue;
      const note = (chunk as unknown as { idlewild: Pick<Turn, 'devices' | 'failovers' | 'exact'> }).idlewild;
      const cachedTokens = chunk.usage.prompt_tokens_details?.cached_tokens ?? 0;
      turns.push({ ...note, text, cachedTokens, promptTokens: chunk.usage.prompt_tokens });
    }
    messages.push({ role: 'assistant', content: text });
  }
  return turns;
}

test('ten turns across the deaths of two devices are the ten turns that nobody disturbed', async () => {
  const whole = await talk('whole', async () => undefined);
  expect(whole.every(({ failovers }) => failovers === 0)).toBe(true);
  // From the second turn on most of the prompt is known, since the conversation goes back to where it was.
  expect(new Set(whole.flatMap((turn) => turn.devices)).size).toBe(1);
  for (const { cachedTokens, promptTokens } of whole.slice(1)) expect(cachedTokens).toBeGreaterThan(promptTokens / 3);

  const dead: DeviceProcess[] = [];
  const disturbed = await talk('disturbed', async (turn, piece) => {
    if (piece !== 6 || DEATHS[dead.length] !== turn) return;
    const victim = await answering(hub.client, devices.values());
    dead.push(victim);
    await victim.kill();
  });
  expect(dead).toHaveLength(DEATHS.length);
  expect(disturbed.map(({ text }) => text)).toEqual(whole.map(({ text }) => text));
  expect(disturbed.map(({ promptTokens }) => promptTokens)).toEqual(whole.map(({ promptTokens }) => promptTokens));
  expect(disturbed.filter(({ failovers }) => failovers > 0).map((_, i) => DEATHS[i])).toEqual(DEATHS);
  expect(disturbed.every(({ exact }) => exact)).toBe(true);
  // Whoever took over knows the conversation afterwards.
  const last = disturbed.at(-1) as Turn;
  expect(last.cachedTokens).toBeGreaterThan(last.promptTokens / 3);
});
