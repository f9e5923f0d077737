/** `idlewild receipt`: whether an answer is what its receipt says. Nobody is asked; a kept answer is all it takes. */
import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import type { OpenedAnswerReceipt, OpenedSealedReceipt } from '@idlewild/protocol';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import type { VerifiedAnswer } from '../receipts/verify-kept.ts';

interface VerifyOptions {
  readonly territory?: string;
}

export function addReceiptCommands(program: Command): void {
  const receipt = program
    .command('receipt')
    .summary('verify what came with an answer')
    .description('Verify the receipts that come with answers: which model wrote them, where, and what they cost.')
    .addHelpText('after', '\nExample:\n  $ idlewild receipt verify answer.json --territory ter_…');
  receipt
    .command('verify')
    .summary('hold an answer against its receipt, offline')
    .description(
      'Hold a kept answer against its receipt: the JSON of an answer, all events of a stream, or a bare receipt; ' +
        'from a file or from standard input. Asks nobody: name the community whose word counts.',
    )
    .argument('[file]', 'where the answer is kept; absent or -: standard input')
    .option('--territory <id or key>', 'the community that you trust, as `idlewild status --json` names it')
    .addHelpText('after', '\nExample:\n  $ idlewild receipt verify answer.json --territory ter_…')
    .action(async (file: string | undefined, options: VerifyOptions, command: Command) => {
      const context = contextOf(command);
      const kept = file === undefined || file === '-' ? await textOf(process.stdin) : await readKept(file);
      const { verifyKept } = await import('../receipts/verify-kept.ts');
      const verified = await verifyKept(kept, options.territory);
      const results = verified.map(resultOf);
      context.show(results, () => results.flatMap(linesOf));
    });
}

async function readKept(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const { IdlewildError, messageOf } = await import('@idlewild/protocol');
    throw new IdlewildError('usage', `cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
}

const resultOf = (answer: VerifiedAnswer) => ({
  choice: answer.choice,
  /** Whether a text was there to be held against it. */
  isOfText: answer.isOfText,
  aiGenerated: true,
  ...(answer.kind === 'open' ? openFacts(answer.opened) : sealedFacts(answer.opened)),
});
type Result = ReturnType<typeof resultOf>;

function openFacts({ receipt, device }: OpenedAnswerReceipt) {
  const { request, model, modelName, dataClass, seed, promptTokens, answerTokens, finish } = receipt;
  const { devices, failovers, numericClass, exact, verification, sourceType } = receipt;
  return {
    request,
    sealed: false,
    sourceType,
    model,
    modelName,
    dataClass,
    seed,
    promptTokens,
    answerTokens,
    finish,
    devices,
    failovers,
    numericClass,
    /** Whether it is bit-identical to an uninterrupted answer; `null`: nobody signed that. */
    exact: exact as boolean | null,
    verification: verification as 'unverified' | 'verified',
    /** A second device that made the same. */
    verifiedBy: null as string | null,
    /** Index of the first token that the last device made: those before are by devices that did not live to sign. */
    firstToken: device?.firstToken ?? 0,
    signedByDevice: device !== undefined,
    energy: device?.energy ?? null,
    at: new Date(receipt.atMs).toISOString(),
  };
}

/** What the hub could not know is the device's word, which its hub's commitment ties to this text. */
function sealedFacts({ receipt, device, verifiedBy }: OpenedSealedReceipt): ReturnType<typeof openFacts> {
  const { request, model, modelName, dataClass, promptTokens, sourceType, verification } = receipt;
  const { firstToken, tokens, numericClass, energy } = device;
  return {
    request,
    sealed: true,
    sourceType,
    model,
    modelName,
    dataClass,
    seed: device.sealed.seed,
    promptTokens,
    answerTokens: firstToken + tokens,
    finish: device.sealed.finish,
    devices: [receipt.device],
    failovers: firstToken === 0 ? 0 : 1,
    numericClass,
    exact: firstToken === 0 ? true : null,
    verification: verifiedBy === undefined ? verification : 'verified',
    verifiedBy: verifiedBy ?? null,
    firstToken,
    signedByDevice: true,
    energy: energy ?? null,
    at: new Date(receipt.atMs).toISOString(),
  };
}

function linesOf(result: Result): readonly string[] {
  const { energy, isOfText, exact, failovers, sealed, firstToken } = result;
  const changes = ` after ${failovers} ${failovers === 1 ? 'change' : 'changes'} of device`;
  const moved = failovers === 0 ? '' : sealed ? ` from token ${firstToken} on, after another that was lost` : changes;
  const again = result.verifiedBy === null ? 'no second device made it again' : `${result.verifiedBy} made the same`;
  const cost = energy === null ? 'not told' : `${energy.wattHours.toPrecision(2)} Wh, ${energy.how} by the device`;
  return [
    `good: ${result.request}, answer ${result.choice}, of ${result.at}`,
    `  text       ${isOfText ? 'is what was given out' : 'none here to be held against it'}; a machine wrote it`,
    `  model      ${result.modelName} (${result.model})`,
    `  device     ${result.devices.join(', ')}${moved}${result.signedByDevice ? ', which signed for it' : ''}`,
    `  made       ${result.answerTokens} tokens from ${result.promptTokens}, seed ${result.seed}, ` +
      `class ${result.numericClass}${exact !== false ? '' : ', not bit-identical to an uninterrupted answer'}`,
    `  data       ${result.dataClass}${sealed ? ', end-to-end encrypted: the hub did not see the text' : ''}`,
    `  energy     ${cost}`,
    `  verified   ${again}`,
  ];
}
