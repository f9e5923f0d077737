/**
 * The words of `up` for a hub of several replicas: which database and bus they share, and how one comes and goes.
 *
 * What holds a password is better given by the environment, where other users of the machine do not see it.
 */
import { join } from 'node:path';
import type { HubOptions } from '@idlewild/hub';
import { IdlewildError } from '@idlewild/protocol';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { defaultDataFolder } from '../data-folder.ts';
import { splitPin } from '../pinned-fetch.ts';

export interface ReplicaWords {
  readonly port: number;
  readonly data?: string;
  readonly database?: string;
  readonly bus?: string;
  readonly busCredentials?: string;
  readonly busNkey?: string;
  readonly busCa?: string;
  readonly busCert?: string;
  readonly busKey?: string;
  readonly secretsKey?: string;
  readonly publicUrl?: string;
  readonly drain?: number;
  readonly drainNotice?: number;
  readonly devicesMax?: number;
  readonly strangersMax?: number;
  readonly strangersPerAddress?: number;
}

/** An orchestrator that waits for longer than an hour is none. */
const DRAIN_SECONDS_MAX = 3_600;
const COUNT_MAX = 100_000;

export function addReplicaOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--database <url>', 'postgres://…, instead of a file; every replica is given the same').env(
        'IDLEWILD_DATABASE',
      ),
    )
    .addOption(
      new Option('--bus <urls>', 'nats://…, by which replicas talk; without it there is one').env('IDLEWILD_BUS'),
    )
    .option('--bus-credentials <file>', 'a .creds file, for a bus that asks for it')
    .option('--bus-nkey <file>', 'a file with an nkey seed, for a bus that asks for it')
    .option('--bus-ca <file>', 'who signed the certificate of the bus (PEM)')
    .option('--bus-cert <file>', 'a certificate to show the bus (PEM)')
    .option('--bus-key <file>', 'its key (PEM)')
    .option('--secrets-key <file>', 'a key that seals the secrets in the database: openssl rand -base64 32')
    .option('--public-url <url>', 'where devices and callers reach the hub, if that is a balancer')
    .option('--drain <seconds>', 'how long answers may take to finish when it is told to stop', parseSeconds)
    .option('--drain-notice <seconds>', 'of these, how long balancers may take to notice', parseSeconds)
    .option('--devices-max <count>', 'how many devices this replica takes', parseCount)
    .option(
      '--strangers-max <count>',
      'connections of which nobody knows yet whose they are; the oldest go for newer ones (default: 16384, and at ' +
        'most half of what it may open)',
      parseCount,
    )
    .option('--strangers-per-address <count>', 'of these, from one address (default: 4096)', parseCount);
}

/** A replica's folder has nothing that counts; two on one machine have two. */
export const dataFolderOf = ({ data, database, port }: ReplicaWords): string =>
  data ?? (database === undefined ? defaultDataFolder() : join(defaultDataFolder(), `replica-${port}`));

/** Throws `usage`. */
export function replicaOptionsOf(words: ReplicaWords): Omit<HubOptions, 'host' | 'port' | 'data'> {
  const { database, secretsKey: secretsKeyFile, publicUrl, devicesMax, drain, drainNotice } = words;
  const bus = busOf(words);
  if (database === undefined && (bus !== undefined || secretsKeyFile !== undefined))
    throw new IdlewildError(
      'usage',
      '--bus and --secrets-key are for replicas of a hub, which share a database: give --database postgres://…, too',
    );
  if (publicUrl !== undefined) checkPublicUrl(publicUrl);
  return {
    database,
    bus,
    secretsKeyFile,
    publicUrl: publicUrl?.replace(/\/$/, ''),
    devicesMax,
    strangers: { inAll: words.strangersMax, perAddress: words.strangersPerAddress },
    drain: {
      ...(drain === undefined ? {} : { totalMs: drain * 1_000 }),
      ...(drainNotice === undefined ? {} : { noticeMs: drainNotice * 1_000 }),
    },
  };
}

function checkPublicUrl(url: string): void {
  if (/^https?:\/\/[^/?#]+\/?$/.test(url)) return;
  const { pin, url: bare } = splitPin(url);
  if (pin === undefined)
    throw new IdlewildError('usage', `--public-url ${url}: write https://hub.example, without a path`);
  const other = `who does not trust the certificate there writes the pin: idlewild join ${url} --token TOKEN`;
  throw new IdlewildError('usage', `--public-url takes no pin: write ${bare}; ${other}, or has NODE_EXTRA_CA_CERTS`);
}

function busOf(words: ReplicaWords): HubOptions['bus'] {
  const { bus, busCredentials, busNkey, busCa, busCert, busKey } = words;
  const files = {
    ...(busCredentials === undefined ? {} : { credentialsFile: busCredentials }),
    ...(busNkey === undefined ? {} : { nkeyFile: busNkey }),
    ...(busCa === undefined ? {} : { caFile: busCa }),
    ...(busCert === undefined ? {} : { certFile: busCert }),
    ...(busKey === undefined ? {} : { keyFile: busKey }),
  };
  if (bus !== undefined) return { urls: bus.split(',').map((url) => url.trim()), ...files };
  if (Object.keys(files).length === 0) return undefined;
  throw new IdlewildError('usage', '--bus-… say how to reach a bus: give --bus nats://…, too');
}

function parseSeconds(text: string): number {
  const seconds = /^\d{1,4}(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(seconds <= DRAIN_SECONDS_MAX))
    throw new InvalidArgumentError(`It must be a number of seconds, at most ${DRAIN_SECONDS_MAX}.`);
  return seconds;
}

function parseCount(text: string): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= 1 && count <= COUNT_MAX))
    throw new InvalidArgumentError(`It must be a number from 1 to ${COUNT_MAX}.`);
  return count;
}
