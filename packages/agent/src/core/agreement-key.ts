/**
 * The device's X25519 key: what callers seal prompts to. It is made fresh, signed by the identity, and replaced
 * `agreementLeadMs` before it ends; the one before is kept until its own end, so that what is under way still opens.
 * Private keys stay in this closure and in memory only: a device that restarts has a new one.
 */
import {
  LIMITS,
  equalBytes,
  signStatement,
  type Clock,
  type Crypto,
  type KeyPair,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import { AGENT_LIMITS } from './limits.ts';

export interface AgreementKeys {
  /** The signed `agreement-key` statement of the newest key; a machine that slept past the rotation makes one first. */
  signed(): Promise<Uint8Array>;
  /** The private key that belongs to a public key of ours that has not ended. */
  privateKeyOf(publicKey: Uint8Array): Uint8Array | undefined;
  stop(): void;
}

interface HeldKey {
  readonly pair: KeyPair;
  readonly signed: Uint8Array;
  readonly expiresAtMs: number;
}

interface Ports {
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly identity: KeyPair;
}

async function makeKey({ clock, random, crypto, identity }: Ports): Promise<HeldKey> {
  const pair = await crypto.agreementKey(random.bytes(32));
  // Statements carry whole milliseconds; a clock may count finer.
  const issuedAtMs = Math.floor(clock.now());
  const expiresAtMs = issuedAtMs + LIMITS.agreementKeyMs;
  const statement = { v: 1, device: identity.publicKey, key: pair.publicKey, issuedAtMs, expiresAtMs };
  return { pair, signed: await signStatement('agreement-key', statement, identity, crypto), expiresAtMs };
}

/** `onRotated` gets the signed statement of every key after the first; `onFailed` what kept one from being made. */
export function createAgreementKeys(
  ports: Ports & { onRotated(signed: Uint8Array): void; onFailed(error: unknown): void },
): AgreementKeys {
  const { clock, onRotated, onFailed } = ports;
  let newest: HeldKey | undefined;
  let older: HeldKey | undefined;
  let making: Promise<HeldKey> | undefined;
  let timer: Timer | undefined;
  let stopped = false;

  const isDue = (key: HeldKey): boolean => key.expiresAtMs - AGENT_LIMITS.agreementLeadMs <= clock.now();

  const rotate = async (): Promise<HeldKey> => {
    const next = await makeKey(ports);
    older = newest;
    newest = next;
    if (stopped) return next;
    timer?.cancel();
    timer = clock.after(LIMITS.agreementKeyMs - AGENT_LIMITS.agreementLeadMs, () => {
      current().catch(onFailed);
    });
    if (older !== undefined) onRotated(next.signed);
    return next;
  };

  async function current(): Promise<HeldKey> {
    if (newest !== undefined && !isDue(newest)) return newest;
    making ??= rotate().finally(() => {
      making = undefined;
    });
    return making;
  }

  return {
    signed: async () => (await current()).signed,
    privateKeyOf(publicKey) {
      const held = [newest, older].find((key) => key !== undefined && equalBytes(key.pair.publicKey, publicKey));
      return held !== undefined && held.expiresAtMs > clock.now() ? held.pair.privateKey : undefined;
    },
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}
