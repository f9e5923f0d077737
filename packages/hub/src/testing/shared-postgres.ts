/**
 * One PostgreSQL for all files of tests of a run, and the databases that they lend each other: to start a server takes
 * a second, to make a database and its tables half of one, and some forty files want both.
 *
 * vitest runs `setup` before the first file and what it gives back after the last. Nothing is started until a file
 * asks, by HTTP on loopback, for files run in processes of their own. Where nobody has run `setup`, whoever asks gets
 * a server for itself. A test that stops, starts or sets up a server starts its own (`postgres.ts`).
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, request as sendRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { Client } from 'pg';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { startPostgres, type Postgres } from './postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    sharedPostgres: string;
  }
}

/** Two files at a time, each with databases of several replicas. */
const SETTINGS = ['max_connections=500'];

export interface SharedPostgres {
  /** Of the database `postgres`. */
  readonly url: string;
  /** An empty database of its own; returns its URL. */
  createDatabase(): Promise<string>;
  /** A database that may have its tables already, all of them empty; returns its URL. */
  borrow(): Promise<string>;
  /** Of one that was borrowed, and has been emptied. */
  giveBack(url: string): Promise<void>;
  /** When the file is over. */
  stop(): Promise<void>;
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  let starting: Promise<Postgres | undefined> | undefined;
  const emptied: string[] = [];
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'PUT') emptied.push(await text(request));
    const postgres = await (starting ??= startPostgres(SETTINGS));
    const url = request.url === '/emptied' ? (emptied.pop() ?? '') : postgres?.url;
    response.writeHead(postgres === undefined ? 404 : 200).end(request.method === 'PUT' ? '' : url);
  }
  const door = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
  }).listen(0, '127.0.0.1');
  await once(door, 'listening');
  project.provide('sharedPostgres', `http://127.0.0.1:${(door.address() as AddressInfo).port}`);
  return async () => {
    door.close();
    door.closeAllConnections();
    await (await starting)?.stop();
  };
}

/** Gives `undefined` where there is no PostgreSQL. */
export async function sharedPostgres(): Promise<SharedPostgres | undefined> {
  const door = inject('sharedPostgres') as string | undefined;
  if (door === undefined) return alone();
  const ask = async (path: string, method = 'GET', body = ''): Promise<string | undefined> => {
    // A connection that is kept may end just as its next request is on the way.
    const sent = sendRequest(`${door}${path}`, { method, agent: false });
    sent.end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const said = await text(response);
    if (response.statusCode === 404) return undefined;
    if (response.statusCode !== 200) throw new Error(`no PostgreSQL for this file: ${said}`);
    return said;
  };
  const url = await ask('/server');
  if (url === undefined) return undefined;
  const createDatabase = (): Promise<string> => newDatabase(url);
  return {
    url,
    createDatabase,
    borrow: async () => (await ask('/emptied')) || createDatabase(),
    giveBack: async (database) => void (await ask('/emptied', 'PUT', database)),
    stop: async () => {},
  };
}

async function alone(): Promise<SharedPostgres | undefined> {
  const postgres = await startPostgres(SETTINGS);
  if (postgres === undefined) return undefined;
  const { url, createDatabase, stop } = postgres;
  return { url, createDatabase, borrow: createDatabase, giveBack: async () => {}, stop };
}

async function newDatabase(server: string): Promise<string> {
  const client = new Client({ connectionString: server });
  await client.connect();
  try {
    const name = `test_${randomUUID().replaceAll('-', '')}`;
    await client.query(`create database ${name}`);
    return server.replace(/\/postgres$/, `/${name}`);
  } finally {
    await client.end();
  }
}
