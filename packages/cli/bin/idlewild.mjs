#!/usr/bin/env node
// The `idlewild` command on whatever Node a machine has: it loads src/main.ts where Node runs TypeScript as it
// is (24 or newer), and otherwise runs itself in the Node 24 that the installation brought along.
//
// Plain JavaScript, and only what it needs is loaded, since every command pays for this file. Of the arguments it
// looks at the first word alone; signals and the exit code pass through.

import { existsSync } from 'node:fs';
import * as module from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const nodeMajorMin = 24;
const parentPollMs = 500;
const settledMs = 15_000;

if (process.env.npm_lifecycle_event === 'npx') {
  // npx passes a signal only to the shell between it and this process; that shell's death is how it arrives here.
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    process.kill(process.pid, 'SIGTERM');
  }, parentPollMs).unref();
}

if (Number(process.versions.node.split('.')[0]) >= nodeMajorMin) {
  await beThrifty(process.argv[2] === 'join');
  await import('../src/main.ts');
} else {
  process.exitCode = await runOnNewerNode();
}

/**
 * What was read and compiled once is kept beside the packages and goes with them: to strip types alone costs each
 * start 0.4 s and 25 MB. Not in the system's folder for temporary things, where another user may have been first.
 *
 * A lent machine's memory is its owner's, and the process that lends it computes little: its heap stays small rather
 * than fast. The flags have to be set before there is a heap to speak of; compiled code depends on them, so each kind
 * has its own folder.
 */
async function beThrifty(lends) {
  if (lends) {
    const { setFlagsFromString } = await import('node:v8');
    setFlagsFromString('--optimize-for-size');
    setFlagsFromString('--max-semi-space-size=1');
  }
  const packages = findAbove('node_modules');
  if (packages === null) return;
  module.enableCompileCache(join(packages, '.cache', 'idlewild', lends ? 'lending' : 'commands'));
  // Node keeps it when a process ends well; one that runs for weeks may not.
  setTimeout(module.flushCompileCache, settledMs).unref();
}

async function runOnNewerNode() {
  const { spawn } = await import('node:child_process');
  const { constants } = await import('node:os');
  const node = findAbove(join('node_modules', 'node', 'bin', 'node'));
  if (node === null) {
    process.stderr.write(
      `idlewild needs Node ${nodeMajorMin} or newer and this is ${process.version}: ` +
        'run `npm ci` in the project, or install a newer Node\n',
    );
    return 1;
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // A terminal sends its Ctrl-C to the whole foreground group; passing it on would make it two.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)));
  });
}

/** The nearest `path` beside or above this file, as npm lays packages out, or null. */
function findAbove(path) {
  for (let place = fileURLToPath(new URL('.', import.meta.url)); place !== dirname(place); place = dirname(place)) {
    const found = join(place, path);
    if (existsSync(found)) return found;
  }
  return null;
}
