#!/usr/bin/env node
// The `idlewild` command on whatever Node a machine has: it loads src/main.ts where Node runs TypeScript as it
// is (24 or newer), and otherwise runs it in the Node 24 that the installation brought along.
//
// Plain JavaScript, and only what it needs is loaded, since every command pays for this file. It parses no
// argument; signals and the exit code pass through.

const nodeMajorMin = 24;
const parentPollMs = 500;

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
  await import('../src/main.ts');
} else {
  process.exitCode = await runOnNewerNode();
}

async function runOnNewerNode() {
  const { spawn } = await import('node:child_process');
  const { constants } = await import('node:os');
  const { fileURLToPath } = await import('node:url');
  const node = await findNode(fileURLToPath(new URL('.', import.meta.url)));
  if (node === null) {
    process.stderr.write(
      `idlewild needs Node ${nodeMajorMin} or newer and this is ${process.version}: ` +
        'run `npm ci` in the project, or install a newer Node\n',
    );
    return 1;
  }
  const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
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

/** The nearest node_modules/node above `folder`, as npm lays it out, or null. */
async function findNode(folder) {
  const { existsSync } = await import('node:fs');
  const { dirname, join } = await import('node:path');
  for (let place = folder; place !== dirname(place); place = dirname(place)) {
    const node = join(place, 'node_modules', 'node', 'bin', 'node');
    if (existsSync(node)) return node;
  }
  return null;
}
