/**
 * What a lender is told before anything runs, and the questions: which of four ways to lend, then yes or no. It says
 * what is lent, to whom, what for and when, what others see and how to stop, in the words of what the consent will
 * hold and nothing more.
 */
import { availableParallelism } from 'node:os';
import { AGENT_LIMITS, PRESETS, hoursText, type PresetName } from '@idlewild/agent';
import type { LenderChoice } from '@idlewild/agent/node';
import { DATA_CLASSES, IdlewildError, decodeInvite, idOfKey, type Invite, type WorkKind } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { askYes, roomIn, type Terminal } from './ask.ts';
import { calledAs } from './context.ts';
import { presetOptions } from './lending-flags.ts';
import { unaskedText } from './lending/unasked.ts';
import { bytesText, wrap } from './text/units.ts';

export interface ConsentQuestion {
  readonly address: string | undefined;
  readonly invite: string | undefined;
  readonly name: string | undefined;
  readonly data: string;
  readonly choice: LenderChoice;
  /** Absent: as it was agreed before, or with other figures. */
  readonly preset: PresetName | undefined;
}

/** Throws `consent_refused` where none was picked. */
export async function askPreset(terminal: Terminal): Promise<PresetName> {
  const { isCancel, select } = await import('@clack/prompts');
  const picked = await select<PresetName>({
    ...terminal,
    message: 'How do you want to lend this machine? Nothing runs yet.',
    options: presetOptions(),
    initialValue: 'balanced',
  });
  if (isCancel(picked)) throw refused();
  return picked;
}

/** Returns when the lender says yes. Throws `consent_refused` at a no. */
export async function askConsent(question: ConsentQuestion, terminal: Terminal): Promise<void> {
  const told = {
    title: 'Lend this machine',
    lines: await consentLines(question, Math.min(WIDTH_MAX, roomIn(terminal))),
  };
  if ((await askYes(terminal, 'Do you agree?', told)) !== true) throw refused();
}

const refused = (): IdlewildError =>
  new IdlewildError('consent_refused', 'nothing was started: the lender did not agree');

/** Lines of at most so many characters, but for words that are longer. */
export async function consentLines(
  { address, invite, name, data, choice, preset }: ConsentQuestion,
  width = WIDTH_MAX,
): Promise<string[]> {
  const decoded = invite === undefined ? undefined : decodeInvite(invite);
  const hub = address ?? decoded?.url;
  const community = decoded === undefined ? undefined : await idOfKey('ter', decoded.territory, nodeCrypto);
  const facts: (readonly [title: string, ...lines: string[]])[] = [
    [
      'To',
      hub ?? 'the community that it joined before',
      ...(community === undefined ? [] : [`community ${community}`]),
    ],
    ...(decoded === undefined ? [] : [['Line', lineText({ ...decoded, url: hub ?? decoded.url })] as const]),
    ...(name === undefined ? [] : [['As', name] as const]),
    ...(preset === undefined ? [] : [['Like', `${PRESETS[preset].title}, with what stands below`] as const]),
    ['For', ...purposeLines(choice)],
    ['With', ...limitLines(choice, data)],
    ['When', timeText(choice)],
    ...(choice.tokensPerSecondMax === undefined
      ? []
      : [['Speed', `at most ${choice.tokensPerSecondMax} tokens per second`] as const]),
    ['Cost', `electricity while it works; \`${calledAs()} lending status\` counts it`],
  ];
  return [
    ...facts.flatMap(([title, ...lines]) => fact(title, lines, width)),
    '',
    ...CLOSING.flatMap((text) => wrap(text, width)),
    ...wrap(`\`${calledAs()} lending leave\` takes everything away again.`, width),
  ];
}

const CLOSING = [
  'What runs here are models: checked first, and each in a process of its own. No program of others is ever run.',
  "The community sees this device's name, kind, speed and state, and this consent.",
  'Ctrl-C ends the lending, p pauses it. Nothing stays behind running.',
];

/** As wide as people like to read. */
const WIDTH_MAX = 74;
const INDENT = 7;

/** A word, and what it is; what is longer than a line goes on below. */
const fact = (title: string, lines: readonly string[], width: number): string[] =>
  lines
    .flatMap((line) => wrap(line, width - INDENT))
    .map((line, index) => (index === 0 ? title : '').padEnd(INDENT) + line);

const KINDS: Readonly<Record<WorkKind, string>> = {
  answers: 'answering prompts and reading texts with the models of this community',
  jobs: 'jobs',
  training: 'training',
  storage: 'storage',
};

function purposeLines({ kinds, classes = [], causes = [], refused: never = [] }: LenderChoice): string[] {
  const later = kinds.filter((kind) => kind !== 'answers');
  const inVain = kinds.includes('answers') ? unaskedText({ kinds, classes }) : undefined;
  const kept = DATA_CLASSES.filter((each) => !classes.includes(each));
  return [
    `${kinds.map((kind) => KINDS[kind]).join(', ')}; no other work`,
    ...(later.length === 0 ? [] : [`(nobody asks for ${later.join(' or ')} yet)`]),
    `with texts that are ${classes.join(' or ')}${kept.length === 0 ? '' : `, and not ${kept.join(' or ')}`}`,
    ...(causes.length === 0 ? [] : [`for these causes alone: ${causes.join(', ')}`]),
    ...(never.length === 0 ? [] : [`never for ${never.join(', ')}`]),
    ...(inVain === undefined ? [] : [`(${inVain})`]),
  ];
}

function limitLines(choice: LenderChoice, data: string): string[] {
  const { cpuShareMax = PRESETS.balanced.consent.cpuShareMax ?? 1, memoryBytesMax, gpu = 'never' } = choice;
  const { diskBytesMax = AGENT_LIMITS.diskBytes, downloadBytesPerSecondMax: download } = choice;
  const { uploadBytesPerSecondMax: upload = AGENT_LIMITS.uploadBytesPerSecond } = choice;
  const memory = memoryBytesMax === undefined ? 'half of its memory' : `${bytesText(memoryBytesMax)} of memory`;
  return [
    `up to ${Math.round(cpuShareMax * 100)} % of ${availableParallelism()} processors, ${memory} and ` +
      `${bytesText(diskBytesMax)} of disk in ${data}`,
    ...(download === undefined ? [] : [`up to ${bytesText(download)}/s for fetching models`]),
    ...(upload === 0 ? [] : [`up to ${bytesText(upload)}/s for giving models to other devices of the community`]),
    ...(choice.celsiusMax === undefined ? [] : [`nothing above ${choice.celsiusMax} °C`]),
    ...(choice.wattHoursPerDayMax === undefined ? [] : [`up to ${choice.wattHoursPerDayMax} Wh a day`]),
    gpu === 'never'
      ? 'no graphics card'
      : `whether a graphics card works is tried ${GRAPHICS[gpu]}; no model runs on one yet`,
  ];
}

const GRAPHICS = { idle: 'while nobody uses the machine', always: 'at any time' } as const;

function timeText({ presence, hours }: LenderChoice): string {
  const when = hours === undefined ? 'while this command runs' : `${hoursText(hours)}, while this command runs`;
  if (presence === 'ignore') return `${when}, also while somebody uses the machine`;
  // What a machine has no way to tell pauses nothing.
  return `${when} and nobody uses the machine, as far as its input, screen, sound, load, battery and heat tell`;
}

/** What protects what this machine and the hub say to each other. */
function lineText({ url, pin, session }: Pick<Invite, 'url' | 'pin' | 'session'>): string {
  if (session === true) {
    return (
      'encrypted between this machine and the hub: what is at that address passes it on, and reads and changes ' +
      'nothing; it sees which models this machine fetches'
    );
  }
  if (pin !== undefined) return "encrypted: TLS with the hub's own key, which the invite names";
  if (/^(http|ws):/.test(url)) return 'not encrypted: the hub is on this machine';
  return 'encrypted: TLS with a certificate that an authority of this system vouches for';
}
