/** `idlewild stewards`: the keys by which stewards vouch for devices. */
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

export function addStewardCommands(program: Command): void {
  const stewards = program
    .command('stewards')
    .summary('see the keys by which stewards vouch for devices')
    .description(
      'See the keys by which stewards vouch for devices. Callers who encrypt end to end pin some of them, from you ' +
        'and not from the hub, which could make up a list of its own.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild stewards key');

  stewards
    .command('list')
    .summary('list the keys that the community has')
    .description('List the public keys by which stewards of the community vouch, with who added them and when.')
    .addHelpText('after', '\nExample:\n  $ idlewild stewards list --json')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).stewards.list();
      context.show(all, () =>
        all.length === 0
          ? ['nobody vouches for devices yet; `idlewild devices vouch` begins']
          : tableLines(
              [{ title: 'NAME' }, { title: 'KEY' }, { title: 'ADDED' }, { title: 'BY' }, { title: 'ID' }],
              all.map(({ name, key, addedAt, addedBy, removedAt, id }) => [
                removedAt === null ? name : `${name} (removed ${whenText(removedAt, Date.now())})`,
                key,
                whenText(addedAt, Date.now()),
                addedBy,
                id,
              ]),
            ),
      );
    });

  stewards
    .command('key')
    .summary('print your own public key, to be pinned')
    .description(
      'Print the public half of the key on this machine by which you vouch; it is made where there is none. Give it ' +
        'to callers by a way that does not go through the hub.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild stewards key')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const { nodeCrypto, nodeRandom } = await import('@idlewild/protocol/node');
      const { idOfKey, wellKnownKey } = await import('@idlewild/protocol');
      const { signingKeyFile, stewardSigningKey } = await import('../steward-signing.ts');
      const file = signingKeyFile();
      const { key, isNew } = await stewardSigningKey(file, { crypto: nodeCrypto, random: nodeRandom });
      if (isNew) context.note(`made it in ${file}; keep a copy of it, and give it to nobody`);
      const shown = { id: await idOfKey('stk', key.publicKey, nodeCrypto), key: wellKnownKey(key.publicKey) };
      context.show(shown, () => [shown.key]);
    });

  stewards
    .command('remove')
    .summary('show no more what a key signed')
    .description('Show no more what a key signed. Callers who pinned it have to be told to pin it no more.')
    .argument('<key>', 'its id, or the beginning of it')
    .addHelpText('after', '\nExample:\n  $ idlewild stewards remove stk_k3x')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { pick } = await import('../pick.ts');
      const steward = pick(await client.stewards.list(), wanted, "steward's key");
      await client.stewards.remove(steward.id);
      context.show({ id: steward.id, name: steward.name, removed: true }, () => [`removed ${steward.name}'s key`]);
      const { signature, signedUntil } = await client.use.current();
      if (signature === 'removed')
        context.note((await import('../text/signature.ts')).signatureText({ signature, signedUntil }, Date.now()).text);
    });
}
