/**
 * Those who seal: each asks through the real client, whose requests take the gateway's way through the hub (key,
 * policy, offer, sealed events). A replica that dies breaks their connections, and they go on at another. What their
 * hub has to do with it carries a mark that nobody but they and devices may ever see in the open.
 */
import { createSealedClient } from '@idlewild/client';
import type { AnswerRequest, Hub } from '@idlewild/hub';
import {
  codeOf,
  hex,
  newId,
  signDeviceVouch,
  textOfBytes,
  type AnswerWork,
  type KeyPair,
  type MaybePromise,
  type Random,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { CallerKey } from './callers.ts';
import { MARK } from './mark.ts';
import type { HubProcess } from '../machines/hub-process.ts';
import { admitted, holdWatch, holding, permitted, type Holding } from '../members/holding.ts';
import type { Record } from '../record.ts';
import type { SealedLies } from './sealed-lies.ts';
import { textOf } from './texts.ts';
import type { World } from '../world.ts';

/** Sealed requests of a community are numbered from here, beyond its first. */
export const SEALED_FROM = 500_000;
const VOUCH_MS = 86_400_000;
const HANG_UP_SHARE = 0.15;

export interface SealedCallers {
  end(): void;
  waiting(): number;
}

export async function startSealing(world: World, perMinute: number, lies: SealedLies = {}): Promise<SealedCallers> {
  const { agenda, clock, record } = world;
  const chance = world.chance('sealed');
  const ids = world.chance('ids of sealed requests');
  const steward = await nodeCrypto.signingKey(chance.bytes(32));
  // Of members those who are bounded in one way or another seal, too.
  const keys = [await world.steward.createKey('sealer'), ...(world.members?.keys ?? [])];
  await vouch(world, steward);
  const open = new Set<number>();
  let asked = world.firstRequest + SEALED_FROM;
  let ended = false;

  async function ask(request: number): Promise<void> {
    const { dataClass, cause } = textOf(request);
    const work: Omit<AnswerWork, 'tokens'> = {
      prompt: { kind: 'text', text: `#${request} ${MARK} ${hex(chance.bytes(8))}` },
      sampling: { seed: chance.whole(0, 2 ** 31), temperature: chance.unit() },
      choice: 0,
      stop: [],
      tokensMax: chance.whole(4, 96),
    };
    const key = keys.length > 1 ? chance.pick(keys) : (keys[0] as CallerKey);
    record.note({ e: 'sealing', request, work });
    open.add(request);
    const abort = new AbortController();
    if (chance.happens(HANG_UP_SHARE)) agenda.at(clock.monotonic() + chance.between(50, 4_000), () => abort.abort());
    const client = createSealedClient({
      hub: 'http://hub.sim',
      key: key.key,
      fetch: createFetch(world, { key, random: ids }, request, lies),
      clock,
      random: chance,
      crypto: nodeCrypto,
      stewards: [steward.publicKey],
      territory: world.process()?.hub.territory.publicKey ?? new Uint8Array(32),
    });
    try {
      for await (const heard of client.answer({ model: world.models[0]?.name ?? '', work, dataClass, cause }, abort)) {
        const event = lies.taken?.(heard) ?? heard;
        if (event.t === 'token') record.note({ e: 'unsealed', request, i: event.i, id: event.id, s: event.s });
        if (event.t !== 'finished') continue;
        const { finish, s, exact, devices, answerTokens } = event;
        const ids = devices.map(({ id }) => id);
        record.note({ e: 'sealedEnd', request, how: 'finished', finish, s, exact, devices: ids, answerTokens });
      }
    } catch (error) {
      record.note({ e: 'sealedEnd', request, how: abort.signal.aborted ? 'hungUp' : (codeOf(error) ?? String(error)) });
    } finally {
      open.delete(request);
    }
  }
  const next = (): void =>
    agenda.at(clock.monotonic() + chance.gapMs(perMinute), () => {
      if (ended) return;
      void ask(asked++);
      next();
    });
  next();
  return {
    end: () => {
      ended = true;
    },
    waiting: () => open.size,
  };
}

/** As a steward does on a machine of her own. */
async function vouch(world: World, steward: KeyPair): Promise<void> {
  const { hub } = world.process() ?? {};
  if (hub === undefined) throw new Error('somebody vouches while the hub runs');
  const { id: territory, publicKey } = hub.territory;
  await hub.vouches.addSteward({ territory, actor: hub.id, publicKey: steward.publicKey, name: 'steward' });
  const nowMs = world.clock.now();
  for (const { id } of await hub.devices.list(territory)) {
    const device = world.deviceOf(id);
    if (device === undefined) continue;
    const life = { issuedAtMs: nowMs, expiresAtMs: nowMs + VOUCH_MS };
    const said = { territory: publicKey, device: device.identity.publicKey, tier: device.traits.tier, ...life };
    const chain = [await signDeviceVouch(said, steward, nodeCrypto)];
    await hub.vouches.put({ territory, actor: hub.id, device: id, chain });
  }
}

/** Of either route. */
interface Body {
  readonly model: string;
  readonly bytes: number;
  readonly tokens?: number;
  readonly numeric_class?: string;
  readonly near?: string;
  readonly without?: readonly string[];
  readonly offer: string;
  readonly key: string;
  readonly enc: string;
  readonly sealed: string;
}

/** The hub's routes, without HTTP. */
function createFetch(
  world: World,
  { key, random }: { readonly key: CallerKey; readonly random: Random },
  request: number,
  lies: SealedLies,
): typeof fetch {
  return async (url, init) => {
    const process = world.process();
    if (process === undefined) throw new TypeError('nobody answers');
    const body = JSON.parse(typeof init?.body === 'string' ? init.body : '{}') as Body;
    const signal = init?.signal ?? new AbortController().signal;
    const route = new URL(url instanceof Request ? url.url : url).pathname;
    const gone = new Promise<never>((_, reject) => {
      process.onShut(() => (process.isLive() ? undefined : reject(new TypeError('the connection broke'))));
      signal.addEventListener('abort', () => reject(new DOMException('hung up', 'AbortError')));
    });
    gone.catch(() => {});
    const served = new Promise<Response>((resolve, reject) => {
      process.take(() => {
        const call = { record: world.record, random, process, key, request, body, signal, lies };
        const answer = route === '/v1/sealed/offers' ? offer(call) : submit(call);
        answer.then(
          (response) => process.give(() => resolve(response)),
          (error: unknown) =>
            process.give(() => (error instanceof TypeError ? reject(error) : resolve(refused(error)))),
        );
      });
    });
    return Promise.race([served, gone]);
  };
}

const refused = (error: unknown): Response => {
  const { code = 'internal', message } = error as { code?: string; message: string };
  const headers = { 'content-type': 'application/json' };
  return new Response(JSON.stringify({ error: { code, message } }), { status: 503, headers });
};

async function askerOf(hub: Hub, key: CallerKey, request: number) {
  const principal = await hub.keys.authenticate(key.key);
  const text = textOf(request);
  const admit = (model: string) => admitted(hub, { principal, model, text, prompt: undefined });
  const permit = (cid: string) => permitted(hub, principal, { cid, text, isSealed: true });
  return { principal, admit, permit };
}

interface Call {
  readonly record: Record;
  readonly random: Random;
  readonly process: HubProcess;
  readonly key: CallerKey;
  readonly request: number;
  readonly body: Body;
  readonly signal: AbortSignal;
  readonly lies: SealedLies;
}

async function offer({ record, process, key, request, body, signal, lies }: Call): Promise<Response> {
  const { hub } = process;
  const { id: territory } = hub.territory;
  const { principal, admit } = await askerOf(hub, key, request);
  const { cid, permit, text } = await admit(body.model);
  // What holds for it and was not signed refuses it; nothing else holds here.
  await hub.use.sealedFor(principal);
  const made = await hub.sealed.offer(
    {
      territory,
      caller: key.id,
      model: { cid, name: body.model },
      text,
      permit,
      bytes: body.bytes,
      tokens: body.tokens ?? 100,
      numericClass: body.numeric_class,
      near: body.near,
      without: body.without ?? [],
    },
    signal,
  );
  process.give(() => record.note({ e: 'offered', request, key: key.id, device: made.device.id }));
  const { token, holdMs, lease, epoch, numericClass, device, agreementKey, vouch } = made;
  const told = {
    object: 'sealed.offer',
    offer: token,
    hold_ms: holdMs,
    lease,
    epoch,
    model: cid,
    data_class: text.dataClass,
    ...(text.cause === undefined ? {} : { purpose: text.cause }),
    numeric_class: numericClass ?? null,
    device: { id: device.id, name: device.name, key: textOfBytes(device.key) },
    agreement_key: textOfBytes(agreementKey),
    vouch: vouch.map(textOfBytes),
  };
  return Response.json(lies.offer?.(told) ?? told);
}

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64url'));

async function submit(call: Call): Promise<Response> {
  const { record, process, key, request, body } = call;
  const { hub } = process;
  const { principal, permit } = await askerOf(hub, key, request);
  const id = newId('req', call.random);
  const order = { id, principal, path: '/v1/sealed/answers', body };
  const held = await holding(hub, order, holdWatch(record, request, process));
  try {
    return await carry(call, held, permit);
  } catch (error) {
    held.close();
    throw error;
  }
}

/** Over when its stream is. */
async function carry(
  { process, key, body, signal, lies }: Call,
  held: Holding,
  admit: (cid: string) => MaybePromise<AnswerRequest['permit']>,
): Promise<Response> {
  const { hub } = process;
  let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
  let isOver = false;
  let nth = 0;
  const over = (act: (open: ReadableStreamDefaultController<Uint8Array>) => void): void => {
    if (isOver || stream === undefined) return;
    isOver = true;
    held.close();
    act(stream);
  };
  const read = new ReadableStream<Uint8Array>({
    start: (controller) => void (stream = controller),
    cancel: () => process.take(() => hangUp()),
  });
  const tell = (event: { readonly [name: string]: unknown }, isEnd = false): void =>
    process.give(() => {
      for (const each of lies.event?.(event, nth++) ?? [event])
        if (!isOver) stream?.enqueue(Buffer.from(`data: ${JSON.stringify(each)}\n\n`));
      if (isEnd) over((open) => open.close());
    });
  process.onShut(() => (process.isLive() ? undefined : over((open) => open.error(new TypeError('it broke')))));
  const offered = {
    token: body.offer,
    territory: hub.territory.id,
    caller: key.id,
    hold: held.hold,
    admit,
    refuse: () => Promise.reject(new TypeError('there are no rules')),
  };
  const carried = { key: bytesOf(body.key), enc: bytesOf(body.enc), sealed: bytesOf(body.sealed) };
  const handle = await hub.sealed.submit(offered, carried, {
    part: (n, sealed) => tell({ t: 'part', n, sealed: textOfBytes(sealed) }),
    done: (n, sealed, receipt) =>
      tell({ t: 'done', n, sealed: textOfBytes(sealed), ...(receipt && { receipt: textOfBytes(receipt) }) }, true),
    lost: (code, message) => tell({ t: 'lost', code, message }, true),
    failed(error, more) {
      const inside = more === undefined ? {} : { n: more.n, sealed: textOfBytes(more.sealed) };
      tell({ t: 'failed', ...inside, error: { code: error.code, message: error.message } }, true);
    },
  });
  function hangUp(): void {
    isOver = true;
    held.close();
    handle.cancel('the caller hung up');
  }
  signal.addEventListener('abort', () => {
    over((open) => open.error(new DOMException('hung up', 'AbortError')));
    process.take(hangUp);
  });
  if (signal.aborted) hangUp();
  return new Response(read, { headers: { 'content-type': 'text/event-stream' } });
}
