/**
 * What every `SignalSource` must do, as claims that any test runner can run:
 *
 *   test.for(signalSourceConformance(harness))('$claim', ({ check }) => expect(check()).resolves.toBeUndefined());
 *
 * It binds to no runner, so that a browser's source can be held to it too.
 */
import type { SignalName, Signals, SignalSource } from '../core/lending/idleness/port.ts';

export interface SignalSourceHarness {
  open(): Promise<SignalSource>;
  /** Lets time pass, so that what is measured over time can be. */
  pass(ms: number): Promise<void>;
  /** Touches the machine, where the source can tell that at once. */
  touch?(): Promise<void> | void;
}

interface Claim {
  readonly claim: string;
  check(): Promise<void>;
}

type Kind = 'ms' | 'share' | 'celsius' | 'boolean' | 'names';
const KINDS: Readonly<Record<SignalName, Kind>> = {
  inputIdleMs: 'ms',
  locked: 'boolean',
  fullScreen: 'boolean',
  audio: 'boolean',
  camera: 'boolean',
  otherCpu: 'share',
  otherGpu: 'share',
  onBattery: 'boolean',
  charge: 'share',
  celsius: 'celsius',
  memoryPressure: 'share',
  memoryFree: 'share',
  meteredNetwork: 'boolean',
  programs: 'names',
};

const FITS: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  ms: (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0,
  share: (value) => typeof value === 'number' && value >= 0 && value <= 1,
  celsius: (value) => typeof value === 'number' && value > 0 && value < 150,
  boolean: (value) => typeof value === 'boolean',
  names: (value) => Array.isArray(value) && value.every((name) => typeof name === 'string'),
};

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** Throws for a reading that no rule could judge. */
export function checkReading(signals: Signals): void {
  for (const [name, value] of Object.entries(signals)) {
    const kind = KINDS[name as SignalName] as Kind | undefined;
    must(kind !== undefined, `${name} is no signal`);
    must(kind !== undefined && FITS[kind](value), `${name} is ${JSON.stringify(value)}, which is no ${kind}`);
  }
}

export function signalSourceConformance({ open, pass, touch }: SignalSourceHarness): readonly Claim[] {
  const withSource = async (act: (source: SignalSource) => Promise<void>): Promise<void> => {
    const source = await open();
    try {
      await act(source);
    } finally {
      source.close();
    }
  };
  const claim = (text: string, act: (source: SignalSource) => Promise<void>): Claim => ({
    claim: text,
    check: () => withSource(act),
  });
  return [
    claim('what it reads can be judged, reading after reading', async (source) => {
      for (let round = 0; round < 4; round++) {
        checkReading(await source.read());
        await pass(1_000);
      }
    }),
    claim('a signal that is read has words on how', async (source) => {
      await pass(1_000);
      const signals = await source.read();
      for (const name of Object.keys(signals) as SignalName[]) {
        const words = source.sources[name] ?? '';
        must(words !== '' && !words.startsWith('not read'), `${name} is read, and said to be: "${words}"`);
      }
    }),
    claim('two readings at once are two readings', async (source) => {
      for (const signals of await Promise.all([source.read(), source.read()])) checkReading(signals);
    }),
    claim('a machine without screen and input tells no time since the last input', async (source) => {
      if (source.headless) must((await source.read()).inputIdleMs === undefined, 'headless, and somebody touched it');
    }),
    claim('who listens is told of a touch at once, until it stops listening', async (source) => {
      if (touch === undefined || source.onInput === undefined) return;
      await source.read();
      const calls = [0, 0];
      const first = source.onInput(() => calls[0]!++);
      source.onInput(() => calls[1]!++);
      await pass(2_000);
      await touch();
      await pass(300);
      must(calls[0] === 1 && calls[1] === 1, `told ${calls.join(' and ')} times of one touch`);
      must(((await source.read()).inputIdleMs ?? Infinity) <= 1_000, 'touched, and not read as such');
      first.stop();
      await pass(2_000);
      await touch();
      await pass(300);
      must(calls[0] === 1 && calls[1] === 2, `told ${calls.join(' and ')} times, the first after it had stopped`);
    }),
    claim('closing ends it, and closing twice does no harm', async (source) => {
      let calls = 0;
      source.onInput?.(() => calls++);
      source.close();
      await touch?.();
      await pass(2_000);
      must(calls === 0, 'told of a touch after it was closed');
      source.close();
    }),
  ];
}
