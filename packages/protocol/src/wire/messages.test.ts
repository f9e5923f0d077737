import { expect, test } from 'vitest';
import { TO_DEVICE, TO_HUB } from '../../fixtures/example-messages.ts';
import { codeOf } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import { encodeFrame } from './frame.ts';
import { parseToDevice, parseToHub } from './messages.ts';

const toHub = (name: string): Record<string, unknown> & { t: string } => ({
  ...(TO_HUB.find((one) => one.name === name) as { message: { t: string } }).message,
});
const refusal = (code: string, text: string): unknown =>
  expect.objectContaining({ code, message: expect.stringContaining(text) });

test('a field that this side does not know is ignored, at any depth', () => {
  const heartbeat = toHub('heartbeat');
  const grown = { ...heartbeat, colour: 'blue', status: { ...(heartbeat.status as object), mood: { good: true } } };
  expect(parseToHub(encodeFrame(grown))).toEqual(heartbeat);
});

test('a kind that this side does not know is named, not refused', () => {
  expect(parseToHub(encodeFrame({ t: 'train', epoch: 'x' }))).toEqual({ t: '?', kind: 'train' });
  expect(parseToDevice(encodeFrame({ t: 'x'.repeat(1_000) }))).toEqual({ t: '?', kind: 'x'.repeat(64) });
  // What one side may say is unknown from the other, and so are the names of an object's own machinery.
  expect(parseToDevice(encodeFrame(toHub('hello')))).toEqual({ t: '?', kind: 'hello' });
  for (const kind of ['constructor', '__proto__', 'toString']) {
    expect(parseToHub(encodeFrame({ t: kind }))).toEqual({ t: '?', kind });
  }
});

test('a critical field that this side does not know refuses the frame, known kind or not', () => {
  const critical = { '!quantum': 1 };
  for (const frame of [
    { ...toHub('hello'), ...critical },
    { t: 'train', ...critical },
    { t: 'heartbeat', status: critical },
  ]) {
    expect(() => parseToHub(encodeFrame(frame))).toThrow(refusal('frame_invalid', '"!quantum"'));
  }
});

test('a wrong field is named', () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{ ...toHub('hello'), nonce: new Uint8Array(31) }, 'nonce'],
    [{ ...toHub('hello'), device: 'text' }, 'device'],
    [{ ...toHub('hello'), versions: [] }, 'versions'],
    [{ ...toHub('heartbeat'), n: -1 }, 'at n'],
    [{ ...toHub('heartbeat'), n: 2n ** 60n }, 'at n'],
    [{ ...toHub('answer.token'), epoch: 0 }, 'epoch'],
    [{ ...toHub('answer.token'), i: 1.5 }, 'at i'],
    [{ ...toHub('answer.token'), s: 'x'.repeat(LIMITS.tokenTextCharactersMax + 1) }, 'at s'],
    [{ ...toHub('answer.finished'), finish: 'bored' }, 'finish'],
    [{ t: 'answer.token' }, 'lease'],
  ];
  for (const [fields, name] of wrong) {
    expect(() => parseToHub(encodeFrame(fields as { t: string })), name).toThrow(refusal('frame_invalid', name));
  }
});

test('before the handshake is over only small frames are read', () => {
  const large = encodeFrame({ ...toHub('prove'), proof: new Uint8Array(LIMITS.handshakeFrameBytesMax) });
  expect(parseToHub(large).t).toBe('prove');
  expect(() => parseToHub(large, LIMITS.handshakeFrameBytesMax)).toThrow(refusal('frame_too_large', 'limit of 65536'));
});

test('damaged frames of every kind parse to a message or to one of our errors, for any seed', () => {
  const frames = [...TO_HUB, ...TO_DEVICE].map(({ message }) => encodeFrame(message));
  for (let seed = 1; seed <= 200; seed++) {
    const random = createSeededRandom(seed);
    for (const frame of frames) {
      const damaged = frame.slice(0, random.unit() < 0.2 ? Math.floor(random.unit() * frame.length) : frame.length);
      for (let hits = 0; hits < 3 && damaged.length > 0; hits++) {
        damaged[Math.floor(random.unit() * damaged.length)] = random.bytes(1)[0] as number;
      }
      for (const parse of [parseToHub, parseToDevice]) {
        let seen: unknown;
        try {
          seen = typeof parse(damaged).t;
        } catch (error) {
          seen = codeOf(error);
        }
        expect(['string', 'frame_invalid'], `seed ${seed}`).toContain(seen);
      }
    }
  }
});
