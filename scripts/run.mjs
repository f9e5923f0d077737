// Runs one of the house's tasks on the Node that package-lock.json names, installing the packages first where
// they are missing: `node scripts/run.mjs <task> [arguments]`, which is what every npm script calls.
//
// Plain JavaScript without dependencies, because it starts on whatever Node a machine has (18 or newer) before
// anything is installed. Two runs in one tree never install at once. The task inherits the terminal; signals
// and the exit code pass through. It knows nothing of what the tasks do.

import { spawn } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const tasks = {
  start: 'packages/cli/src/demo.ts',
  test: 'scripts/test.ts',
  bench: 'bench/main.ts',
  'docs:errors': 'scripts/docs-errors.ts',
  'docs:rbac': 'packages/hub/src/policy/testing/docs-rbac.ts',
};

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const binaries = join(root, 'node_modules', '.bin');
const houseNode = join(root, 'node_modules', 'node', 'bin', 'node');
const lockFile = join(root, '.idlewild', 'install.lock');
const waitPollMs = 200;

const [task = '', ...taskArguments] = process.argv.slice(2);
if (!Object.hasOwn(tasks, task)) {
  fail(`run.mjs knows no task '${task}'; it knows ${Object.keys(tasks).join(', ')}`);
}
await installOnce();
const script = join(root, tasks[task]);
if (!existsSync(script)) fail(`the task '${task}' needs ${tasks[task]}, which this tree does not have`);
// Tests and benches load ONNX Runtime into their own processes, and it would report its use to its maker.
const env = { ...process.env, ORT_DISABLE_TELEMETRY: '1', PATH: [binaries, process.env.PATH ?? ''].join(delimiter) };
process.exitCode = await runChild(houseNode, [script, ...taskArguments], { stdio: 'inherit', env });

/** Installs unless node_modules is what package-lock.json asks for. Waits while another run installs. */
async function installOnce() {
  if (missing() === null) return;
  mkdirSync(dirname(lockFile), { recursive: true });
  let said = false;
  while (!takeLock()) {
    if (!said) say('waiting for another run to finish installing');
    said = true;
    await new Promise((resolve) => setTimeout(resolve, waitPollMs));
  }
  const release = () => rmSync(lockFile, { force: true });
  process.once('exit', release);
  const reason = missing();
  if (reason !== null) await install(reason);
  process.removeListener('exit', release);
  release();
}

/** Why an installation is needed, or null. Dates are compared first; contents only where they disagree. */
function missing() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed) || !existsSync(houseNode)) return 'node_modules is missing or incomplete';
  const wanted = join(root, 'package-lock.json');
  if (statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return null;
  // A checkout or a copy changes dates without changing anything else, and must not cost an installation.
  const have = JSON.parse(readFileSync(installed, 'utf8')).packages;
  const want = JSON.parse(readFileSync(wanted, 'utf8')).packages;
  for (const [place, entry] of Object.entries(want)) {
    if (!place.startsWith('node_modules/') || entry.optional || entry.devOptional || entry.peer) continue;
    const same = have[place] !== undefined && have[place].version === entry.version;
    if (!same) return 'package-lock.json is newer than node_modules';
  }
  return null;
}

async function install(reason) {
  say(`installing packages with \`npm ci\`, because ${reason}; this needs the network, once`);
  // npm must not run on the Node inside the node_modules that it is about to delete.
  const inside = join('node_modules', '.bin');
  const outside = (process.env.PATH ?? '').split(delimiter).filter((entry) => !entry.endsWith(inside));
  const output = [];
  const code = await runChild(
    'npm',
    ['ci', '--include=dev', '--no-audit', '--no-fund'],
    {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      // onnxruntime-node would otherwise fetch GPU libraries that nothing here uses; .npmrc says so too, to older npm.
      env: { ...process.env, PATH: outside.join(delimiter), ONNXRUNTIME_NODE_INSTALL: 'skip' },
      shell: process.platform === 'win32',
    },
    output,
  );
  if (code === 0) return;
  const text = Buffer.concat(output).toString('utf8');
  process.stderr.write(text);
  const offline = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH/.test(text);
  fail(
    offline
      ? 'npm could not reach its registry; connect to the network and run the same command again'
      : `\`npm ci\` failed with code ${code}; its output stands above. When it is mended, run the same command again`,
  );
}

/** True when this process now holds the lock. A lock whose process has died is broken, not waited for. */
function takeLock() {
  const mine = `${lockFile}.${process.pid}`;
  writeFileSync(mine, String(process.pid));
  try {
    linkSync(mine, lockFile);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    breakStaleLock();
    return false;
  } finally {
    unlinkSync(mine);
  }
}

/** Only the one who made the `.break` folder may remove a dead process's lock, so nobody removes a live one. */
function breakStaleLock() {
  const breaking = `${lockFile}.break`;
  try {
    mkdirSync(breaking);
  } catch (error) {
    if (error.code === 'EEXIST') return;
    throw error;
  }
  try {
    if (existsSync(lockFile) && !alive(Number(readFileSync(lockFile, 'utf8')))) rmSync(lockFile);
  } finally {
    rmSync(breaking, { recursive: true });
  }
}

function alive(processId) {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/**
 * Resolves with the child's exit code (128 + n after signal n), passing signals on while it runs. A terminal
 * sends its Ctrl-C to the whole foreground group, so passing that one on would make it two.
 */
function runChild(command, commandArguments, options, output) {
  return new Promise((resolve) => {
    const child = spawn(command, commandArguments, options);
    child.stdout?.on('data', (chunk) => output?.push(chunk));
    child.stderr?.on('data', (chunk) => output?.push(chunk));
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.on(signal, () => {
        if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
      });
    }
    child.on('error', (error) => fail(`could not start ${command}: ${error.message}`));
    child.on('close', (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)));
  });
}

function say(message) {
  process.stderr.write(`idlewild: ${message}\n`);
}

function fail(message) {
  say(message);
  process.exit(1);
}
