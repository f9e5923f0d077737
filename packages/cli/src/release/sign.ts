/**
 * For those who make releases: `node packages/cli/src/release/sign.ts KEYFILE '{"version":…}'` prints the statement
 * that `idlewild update --check` believes. The key file holds 64 hexadecimal digits and is made where there is none; on
 * stderr stands what a build has to name after the address, `#key=…`.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fromHex, hex } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { signRelease, type Release } from './statement.ts';

const [file, release] = process.argv.slice(2);
if (file === undefined || release === undefined) {
  process.stderr.write('usage: sign.ts KEYFILE \'{"version","date","notes","minimum"}\'\n');
  process.exit(2);
}
if (!existsSync(file)) writeFileSync(file, `${hex(nodeRandom.bytes(32))}\n`, { mode: 0o600, flag: 'wx' });
const seed = fromHex(readFileSync(file, 'utf8').trim());
const { publicKey } = await nodeCrypto.signingKey(seed);
process.stdout.write(await signRelease(JSON.parse(release) as Release, seed, nodeCrypto));
process.stderr.write(`#key=${Buffer.from(publicKey).toString('base64url')}\n`);
