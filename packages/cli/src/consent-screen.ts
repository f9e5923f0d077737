/**
 * What a lender is told before anything runs, and the question. It says what is lent, when, what others see and how to
 * stop, in the words of what the consent will hold and nothing more.
 */
import { availableParallelism, totalmem } from 'node:os';
import { AGENT_LIMITS } from '@idlewild/agent';
import { IdlewildError, decodeInvite, idOfKey, type Invite } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { bytesText } from './text/units.ts';

export interface ConsentQuestion {
  readonly address: string | undefined;
  readonly invite: string | undefined;
  readonly name: string | undefined;
  readonly data: string;
  readonly presence: 'respect' | 'ignore';
  readonly tokensPerSecondMax: number | undefined;
  readonly diskBytesMax: number | undefined;
  readonly uploadBytesPerSecondMax: number | undefined;
  readonly json: boolean;
}

/** Returns when the lender says yes. Throws `consent_refused` at a no, `usage` where nobody can be asked. */
export async function askConsent(question: ConsentQuestion): Promise<void> {
  const lines = await consentLines(question);
  if (question.json || !process.stdin.isTTY || !process.stdout.isTTY) {
    throw new IdlewildError(
      'usage',
      "lending a machine needs its owner's yes: run this on a terminal, or write --yes if you are the owner",
    );
  }
  const { confirm, isCancel, note } = await import('@clack/prompts');
  note(lines.join('\n'), 'Lend this machine');
  const answer = await confirm({ message: 'Do you agree?', active: 'yes', inactive: 'no', initialValue: false });
  if (isCancel(answer) || !answer)
    throw new IdlewildError('consent_refused', 'nothing was started: the lender did not agree');
}

export async function consentLines({
  address,
  invite,
  name,
  data,
  presence,
  tokensPerSecondMax,
  diskBytesMax = AGENT_LIMITS.diskBytes,
  uploadBytesPerSecondMax = AGENT_LIMITS.uploadBytesPerSecond,
}: ConsentQuestion): Promise<string[]> {
  const decoded = invite === undefined ? undefined : decodeInvite(invite);
  const hub = address ?? decoded?.url;
  const community = decoded === undefined ? undefined : await idOfKey('ter', decoded.territory, nodeCrypto);
  const threads = Math.max(1, Math.floor(availableParallelism() / 2));
  return [
    `To     ${hub ?? 'the community that it joined before'}`,
    ...(community === undefined ? [] : [`       community ${community}`]),
    ...(decoded === undefined ? [] : lineLines({ ...decoded, url: hub ?? decoded.url })),
    ...(name === undefined ? [] : [`As     ${name}`]),
    'For    answering prompts and reading texts with the models of this community; no other work',
    `With   ${threads} of ${availableParallelism()} cores, up to ${bytesText(totalmem() / 2)} of memory and`,
    `       ${bytesText(diskBytesMax)} of disk in ${data}`,
    ...(uploadBytesPerSecondMax === 0
      ? []
      : [`       up to ${bytesText(uploadBytesPerSecondMax)}/s for giving models to other devices of the community`]),
    // Nothing detects presence yet, and a lender is promised only what holds.
    ...(presence === 'respect'
      ? [
          'When   while this command runs. It cannot tell yet whether you use the machine:',
          '       press p to pause it when you do',
        ]
      : ['When   always, also while somebody uses the machine']),
    ...(tokensPerSecondMax === undefined ? [] : [`Speed  at most ${tokensPerSecondMax} tokens per second`]),
    '',
    'Models run as checked graphs in a process of their own; no program from others runs.',
    "The community sees this device's name, its kind and its speed.",
    'Ctrl-C ends the lending, p pauses it. Nothing stays behind running.',
  ];
}

/** What protects what this machine and the hub say to each other. */
function lineLines({ url, pin, session }: Pick<Invite, 'url' | 'pin' | 'session'>): string[] {
  if (session === true) {
    return [
      'Line   sealed between this machine and the hub: what is at that address passes it on,',
      '       and reads and changes nothing; it sees which models this machine fetches',
    ];
  }
  if (pin !== undefined) return ["Line   TLS with the hub's own key, which the invite pins"];
  if (/^(http|ws):/.test(url)) return ['Line   not encrypted: the hub is on this machine'];
  return ['Line   TLS with a certificate that an authority of this system vouches for'];
}
