/**
 * Under which scope a device keeps what it has read of a caller's sealed prompts: another one at each device, and none
 * tells any other.
 *
 * A device sees the scope under which it is asked. With that of another device whoever lends it could ask that one, by
 * sealed prompts of their own, whether it has read a prompt that begins as they think.
 */
import { concat, hex, utf8, type AnswerWork, type Crypto } from '@idlewild/protocol';

const CHARACTERS = 32;

/** `device`: its identity. The same for the same one, so that a conversation is found where it went on before. */
export async function scopeAt(
  device: Uint8Array,
  { scope }: Pick<AnswerWork, 'scope'>,
  crypto: Pick<Crypto, 'sha256'>,
): Promise<Pick<AnswerWork, 'scope'>> {
  if (scope === undefined) return {};
  const digest = hex(await crypto.sha256(concat([utf8(`idlewild/v1/sealed-scope\n${scope}\n`), device])));
  return { scope: `sealed.${digest.slice(0, CHARACTERS)}` };
}
