/** Where ten devices got a model from that all were told to hold at once: the hub's store, or each other. */
import type { BenchRun } from '../bench.ts';
import type { World } from '../world.ts';

const LINE = /^idlewild_blob_bytes_total\{source="(store|peer)"\} (\S+)$/gm;

export async function measurePeerFetch(run: BenchRun, world: World): Promise<void> {
  const response = await fetch(`${world.url}/metrics`, { headers: { authorization: `Bearer ${world.stewardKey}` } });
  if (!response.ok) throw new Error(`the hub answered ${response.status} for its metrics`);
  const bytes = new Map(
    [...(await response.text()).matchAll(LINE)].map(([, source, value]) => [source, Number(value)]),
  );
  const [store, peer] = [bytes.get('store') ?? 0, bytes.get('peer') ?? 0];
  if (store + peer === 0) throw new Error('no device fetched anything');
  run.record(
    'serve.peer_fetch_hub_bytes_ratio',
    store / (store + peer),
    `${world.devices.length} devices: ${(store / 1e6).toFixed(1)} MB from the hub's store, ` +
      `${(peer / 1e6).toFixed(1)} MB from each other through its relay`,
  );
}
