/**
 * Invariant 2: a lease has one holder, a stale epoch changes nothing, a result is accepted exactly once. Every token
 * and end that a caller sees comes in a frame of the device that holds the current lease of the request, under its
 * epoch; and a receipt in the database is of the last lease, signed by its holder, and says what the caller saw.
 *
 * Of a request under an Idempotency-Key a replica that was taken for dead may give a lease that is void; what counts is
 * what is accepted. Its receipt is of a lease that was given, and its caller has, token by token, what that lease began
 * with and then made.
 */
import type { AnswerEvent } from '@idlewild/protocol';
import type { Timed, Via } from '../events.ts';
import type { ReceiptRow } from '../snapshot.ts';
import type { CreateChecker } from './checker.ts';

interface Order {
  readonly lease: string;
  readonly epoch: number;
  readonly device: string;
  readonly tokens: readonly number[];
}

interface Request {
  /** By epoch. */
  orders: Order[];
  readonly ids: Set<string>;
  readonly isKeyed: boolean;
  tokens: number[];
  /** What holders of its leases sent, of a keyed one. */
  readonly sent: Set<string>;
  finished: number;
  isLeftLate: boolean;
}

export const createLeases: CreateChecker = (blame, facts) => {
  const requests = new Map<number, Request>();
  const given = new Map<string, { readonly device: string; readonly epoch: number; readonly request: number }>();
  /** What each lease made, by index. */
  const made = new Map<string, Map<number, number>>();
  const of = (number: number, isKeyed = false): Request => {
    const known = requests.get(number) ?? {
      orders: [],
      ids: new Set(),
      isKeyed,
      tokens: [],
      sent: new Set(),
      finished: 0,
      isLeftLate: false,
    };
    requests.set(number, known);
    return known;
  };

  function ordered(event: Extract<Timed, { e: 'ordered' }>): void {
    const { request, device, lease, epoch, tokens } = event;
    const { orders, isKeyed } = of(request);
    const holder = given.get(lease)?.device;
    // Two replicas may believe for a moment that they have a device; it hears of one.
    if (holder === device && !facts.isAlone) return;
    if (holder !== undefined) blame(`the lease ${lease} was given twice: to ${holder} and to ${device}`);
    given.set(lease, { device, epoch, request });
    const last = orders.at(-1)?.epoch ?? 0;
    // On its way to another replica an order may be overtaken by the next.
    const isWrong = facts.isAlone ? epoch <= last : orders.some((other) => other.epoch === epoch);
    if (isWrong && !isKeyed) blame(`request ${request} was ordered under epoch ${epoch} after epoch ${last}`);
    orders.push({ lease, epoch, device, tokens });
    orders.sort((a, b) => a.epoch - b.epoch);
  }

  /** Every frame counts that the holder of a lease sent under its epoch; the first of an index. */
  function sent(device: string, { lease, epoch, i, id, s }: Token): void {
    const order = given.get(lease);
    if (order?.device !== device || order.epoch !== epoch) return;
    const tokens = made.get(lease) ?? new Map<number, number>();
    made.set(lease, tokens);
    if (!tokens.has(i)) tokens.set(i, id);
    of(order.request).sent.add(textOf({ i, id, s }));
  }

  /** Whether what came `via` a frame came from the holder of the current lease. */
  function held(number: number, what: string, via: Via | undefined): void {
    const current = of(number).orders.at(-1);
    if (via === undefined || current === undefined) return blame(`request ${number} got ${what} that no device sent`);
    const { device, frame } = via;
    if (device === current.device && frame.lease === current.lease && frame.epoch === current.epoch) return;
    blame(
      `request ${number} got ${what} from ${device} (${frame.lease}, epoch ${frame.epoch}); ` +
        `${current.device} holds ${current.lease}, epoch ${current.epoch}`,
    );
  }

  return {
    see(event) {
      switch (event.e) {
        case 'accepted':
          return void of(event.request).ids.add(event.id);
        case 'asked':
          return void of(event.request, event.keyed);
        case 'ordered':
          return ordered(event);
        case 'hungUp':
          of(event.request).isLeftLate = event.late === true;
          return;
        case 'sent':
          return sent(event.device, event.frame);
        case 'made':
          if (of(event.request).sent.has(textOf(event))) return;
          return blame(`request ${event.request} got a token ${event.i} that no holder of a lease of it sent`);
        case 'token': {
          const { isKeyed, tokens } = of(event.request);
          tokens.push(event.id);
          if (isKeyed) return;
          held(event.request, `token ${event.i}`, event.via);
          if (!isSame(event.via?.frame, event)) {
            blame(`request ${event.request} got another token ${event.i} than was sent`);
          }
          return;
        }
        case 'finished': {
          const request = of(event.request);
          if (!request.isKeyed) held(event.request, 'its end', event.via);
          request.finished++;
          if (request.finished > 1) blame(`request ${event.request} was finished ${request.finished} times`);
          return;
        }
        default:
      }
    },
    inspect({ receipts, requests: rows, when }) {
      if (when !== 'rest') return;
      const byId = new Map([...requests.values()].flatMap((request) => [...request.ids].map((id) => [id, request])));
      const answerTokens = new Map(rows.map((row) => [row.id, row.answer_tokens]));
      const seen = new Set<string>();
      for (const receipt of receipts) {
        const { request_id: id, said } = receipt;
        if (seen.has(id)) blame(`request ${id} has two receipts`);
        seen.add(id);
        if (receipt.sealed !== undefined) {
          const { request: said, lease, epoch, device } = receipt.sealed;
          const isOfIt = lease === receipt.lease && epoch === receipt.epoch && device === receipt.device_id;
          if (said !== id || !isOfIt) blame(`the receipt of the sealed request ${id} is of another attempt`);
          continue;
        }
        const request = byId.get(id);
        const order = request === undefined ? undefined : orderOf(request, receipt);
        if (request === undefined || request.orders.length === 0) {
          blame(`a receipt is of request ${id}, which was never ordered`);
          continue;
        }
        const isRow = request.isKeyed || request.isLeftLate;
        const tokens = isRow ? (answerTokens.get(id) ?? 0) : request.tokens.length;
        if (order === undefined) blame(`the receipt of request ${id} is not of its last lease`);
        else if (said === undefined) blame(`the receipt of request ${id} does not verify`);
        else if (said.firstToken !== order.tokens.length || said.firstToken + said.tokens !== tokens) {
          const sum = `${said.firstToken} + ${said.tokens}`;
          blame(`the receipt of request ${id} says ${sum} tokens; its caller saw ${tokens}`);
        } else if (request.isKeyed) sameAsAccepted(id, request, order);
      }
    },
  };

  function sameAsAccepted(id: string, { tokens, finished }: Request, order: Order): void {
    if (finished === 0) return;
    const own = made.get(order.lease);
    const at = tokens.findIndex((token, i) => token !== (order.tokens[i] ?? own?.get(i)));
    if (at < 0) return;
    const accepted = order.tokens[at] ?? own?.get(at) ?? 'none';
    blame(`request ${id}: its caller has ${tokens[at]} as token ${at}, and what was accepted has ${accepted}`);
  }
};

/** The order that a receipt is of; of a request whose owner never changes that is the last. */
function orderOf({ orders, isKeyed }: Request, { lease, epoch, device_id: device }: ReceiptRow): Order | undefined {
  const among = isKeyed ? orders : orders.slice(-1);
  return among.find((order) => order.lease === lease && order.epoch === epoch && order.device === device);
}

type Token = Extract<AnswerEvent, { t: 'answer.token' }>;
const textOf = ({ i, id, s }: Pick<Token, 'i' | 'id' | 's'>): string => `${i} ${id} ${s}`;

const isSame = (frame: AnswerEvent | undefined, { i, id, s }: { i: number; id: number; s: string }): boolean =>
  frame?.t === 'answer.token' && frame.i === i && frame.id === id && frame.s === s;
