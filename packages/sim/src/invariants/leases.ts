/**
 * Invariant 2: a lease has one holder, a stale epoch changes nothing, a result is accepted exactly once. Every token
 * and end that a caller sees comes in a frame of the device that holds the current lease of the request, under its
 * epoch; and a receipt in the database is of the last lease, signed by its holder, and says what the caller saw.
 */
import type { Timed, Via } from '../events.ts';
import type { CreateChecker } from './checker.ts';

interface Order {
  readonly lease: string;
  readonly epoch: number;
  readonly device: string;
  readonly firstToken: number;
}

interface Request {
  orders: Order[];
  id: string | undefined;
  tokens: number[];
  finished: number;
}

export const createLeases: CreateChecker = (blame) => {
  const requests = new Map<number, Request>();
  const holders = new Map<string, string>();
  const of = (number: number): Request => {
    const known = requests.get(number) ?? { orders: [], id: undefined, tokens: [], finished: 0 };
    requests.set(number, known);
    return known;
  };

  function ordered(event: Extract<Timed, { e: 'ordered' }>): void {
    const { request, device, lease, epoch, tokens } = event;
    const { orders } = of(request);
    const holder = holders.get(lease);
    if (holder !== undefined) blame(`the lease ${lease} was given twice: to ${holder} and to ${device}`);
    holders.set(lease, device);
    const last = orders.at(-1)?.epoch ?? 0;
    if (epoch <= last) blame(`request ${request} was ordered under epoch ${epoch} after epoch ${last}`);
    orders.push({ lease, epoch, device, firstToken: tokens.length });
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
          of(event.request).id = event.id;
          return;
        case 'ordered':
          return ordered(event);
        case 'token': {
          const { frame } = event.via ?? {};
          held(event.request, `token ${event.i}`, event.via);
          if (frame?.t !== 'answer.token' || frame.i !== event.i || frame.id !== event.id || frame.s !== event.s) {
            blame(`request ${event.request} got another token ${event.i} than was sent`);
          }
          return void of(event.request).tokens.push(event.id);
        }
        case 'finished': {
          held(event.request, 'its end', event.via);
          const request = of(event.request);
          request.finished++;
          if (request.finished > 1) blame(`request ${event.request} was finished ${request.finished} times`);
          return;
        }
        default:
      }
    },
    inspect({ receipts, when }) {
      if (when !== 'rest') return;
      const byId = new Map([...requests.values()].map((request) => [request.id, request]));
      const seen = new Set<string>();
      for (const { request_id: id, lease, epoch, device_id: device, said } of receipts) {
        if (seen.has(id)) blame(`request ${id} has two receipts`);
        seen.add(id);
        const request = byId.get(id);
        const last = request?.orders.at(-1);
        if (request === undefined || last === undefined) {
          blame(`a receipt is of request ${id}, which was never ordered`);
          continue;
        }
        const tokens = request.tokens.length;
        if (last.lease !== lease || last.epoch !== epoch || last.device !== device) {
          blame(`the receipt of request ${id} is not of its last lease`);
        } else if (said === undefined) blame(`the receipt of request ${id} does not verify`);
        else if (said.firstToken !== last.firstToken || said.firstToken + said.tokens !== tokens) {
          const sum = `${said.firstToken} + ${said.tokens}`;
          blame(`the receipt of request ${id} says ${sum} tokens; its caller saw ${tokens}`);
        }
      }
    },
  };
};
