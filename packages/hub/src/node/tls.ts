/**
 * The hub's own TLS certificate: made once, self-signed, trusted by its pin and not by its issuer.
 *
 * Devices and callers pin SHA-256 of its SubjectPublicKeyInfo (RFC 7469), so it may be renewed with the same key. It
 * lives as long as the key does; expiry would only break people whose hub was switched off for a year.
 */
import { X509Certificate, createHash, webcrypto } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { IdlewildError } from '@idlewild/protocol';

const VALID_YEARS = 20;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface TlsFiles {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

/** SHA-256 of the certificate's SubjectPublicKeyInfo, 32 bytes. Throws `usage` when `cert` is no PEM certificate. */
export function spkiPinOf(cert: string): Uint8Array {
  try {
    const der = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
    return new Uint8Array(createHash('sha256').update(der).digest());
  } catch (cause) {
    throw new IdlewildError(
      'usage',
      `the TLS certificate cannot be read: ${(cause as Error).message}; give a PEM file`,
      { cause },
    );
  }
}

/** Reads the given pair. Throws `usage` naming the file. */
export function readTls(certFile: string, keyFile: string): TlsFiles {
  const read = (file: string): string => {
    try {
      return readFileSync(file, 'utf8');
    } catch (cause) {
      throw new IdlewildError('usage', `the TLS file ${file} cannot be read: ${(cause as Error).message}`, { cause });
    }
  };
  return { cert: read(certFile), key: read(keyFile) };
}

/** The pair kept in `folder` as `tls.crt` and `tls.key` (0600), made at the first call. */
export async function ownTls(folder: string, nowMs: number): Promise<TlsFiles> {
  const certFile = join(folder, 'tls.crt');
  const keyFile = join(folder, 'tls.key');
  if (!existsSync(certFile) || !existsSync(keyFile)) {
    const made = await selfSigned(nowMs);
    writeFileSync(keyFile, made.key, { mode: 0o600 });
    writeFileSync(certFile, made.cert, { mode: 0o644 });
  }
  return readTls(certFile, keyFile);
}

function ownNames(): { type: 'dns' | 'ip'; value: string }[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .map((entry) => entry.address.split('%')[0] as string);
  return [
    { type: 'dns', value: 'localhost' },
    ...[...new Set(addresses)]
      .filter((address) => isIP(address) !== 0)
      .map((value) => ({ type: 'ip' as const, value })),
  ];
}

async function selfSigned(nowMs: number): Promise<TlsFiles> {
  // Only a hub off loopback needs a certificate, and the library takes 100 ms to load; it needs the metadata polyfill
  // first.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const notAfter = new Date(nowMs);
  notAfter.setFullYear(notAfter.getFullYear() + VALID_YEARS);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=Idlewild hub',
    notBefore: new Date(nowMs - 3_600_000),
    notAfter,
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [new x509.BasicConstraintsExtension(false), new x509.SubjectAlternativeNameExtension(ownNames())],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
    .toString('base64')
    .replace(/(.{64})/g, '$1\n');
  return {
    cert: `${certificate.toString('pem')}\n`,
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  };
}
