/**
 * Why nobody can take a request now, in words for the person who asked. Whether it is their lenders or their machines
 * that paused devices is the lenders' business; which texts they lend for is what a caller can do something about.
 */
import { IdlewildError, type DeviceFeature } from '@idlewild/protocol';
import { barOf, barsText, forbiddenBy } from '../trust/barred.ts';
import { canDo, servesModel, takesWork, type Candidate, type Demand } from './route.ts';

const plural = (count: number, one: string, many: string): string => (count === 1 ? one : many);

const FEATURE_WORDS: Readonly<Record<DeviceFeature, string>> = {
  form: 'answer in JSON',
  tools: 'call tools',
  logprobs: 'tell log probabilities',
  bias: 'bias tokens',
  embed: 'make vectors of texts',
  relay: 'give blobs to others',
  resume: 'go on with an answer over another connection',
  sealed: 'open end-to-end encrypted prompts',
  use: 'hold encrypted prompts to rules of use',
};

type Asked = Pick<Demand, 'excluded' | 'features' | 'text'>;

/** For who got none; `words` are said after why. `details.decidedBy`: policies of the community that forbade it. */
export function noDeviceError(
  candidates: readonly Candidate[],
  model: string,
  asked: Asked & { readonly words?: string | undefined },
): IdlewildError {
  const decidedBy = forbiddenBy(candidates.filter(holds), asked.text);
  return new IdlewildError('no_device', `${explainNone(candidates, model, asked)}${asked.words ?? ''}`, {
    details: { retryAfterSeconds: 10, ...(decidedBy.length === 0 ? {} : { decidedBy }) },
  });
}

const holds = ({ model }: Candidate): boolean => model !== 'none' && model !== 'failed';

/** "2 devices hold this model; both are paused". */
export function explainNone(candidates: readonly Candidate[], model: string, asked: Asked): string {
  if (candidates.length === 0)
    return `no device is connected, so nobody can answer for "${model}"; join one, or wait for one`;
  const holding = candidates.filter(holds);
  if (holding.length === 0) {
    const failed = candidates.filter((c) => c.model === 'failed').length;
    const why = failed > 0 ? `; ${failed} failed to load it` : '';
    const connected = `${candidates.length} ${plural(candidates.length, 'device is', 'devices are')} connected`;
    return `${connected}, but none holds "${model}"${why}`;
  }
  const barred = holding.filter((c) => barOf(c, asked.text) !== undefined);
  const others = holding.filter((c) => !barred.includes(c));
  const heldBy = `${holding.length} ${plural(holding.length, 'device holds', 'devices hold')} this model; `;
  const said = groupsText(others, barred.length > 0, asked);
  if (barred.length === 0) return `${heldBy}${said}`;
  const { dataClass, cause } = asked.text;
  const what = `${dataClass} data${cause === undefined ? '' : ` for "${cause}"`}`;
  const who =
    others.length > 0
      ? `${barred.length} of them may not see ${what}`
      : plural(holding.length, `it may not see ${what}`, `none of them may see ${what}`);
  const [policy] = forbiddenBy(barred, asked.text);
  const way =
    policy === undefined ? '' : `; a steward can change that: idlewild policy show ${policy.split('/', 1)[0]}`;
  return `${heldBy}${who}: ${barsText(barred, asked.text)}${others.length > 0 ? `; of the others ${said}` : ''}${way}`;
}

/** `isPart`: there are more that hold it, of which something else is said. */
function groupsText(holding: readonly Candidate[], isPart: boolean, { excluded, features }: Asked): string {
  const serving = holding.filter((c) => takesWork(c) && servesModel(c));
  const unable = serving.filter((c) => !excluded.has(c.device) && !canDo(c, features));
  const missing = features.filter((feature) => unable.some((c) => !c.features.includes(feature)));
  const cannot = `cannot ${missing.map((feature) => FEATURE_WORDS[feature]).join(' and ')}`;
  const groups: [number, string][] = [
    [holding.filter((c) => c.state === 'paused').length, 'paused'],
    [holding.filter((c) => c.state === 'draining').length, 'draining'],
    [holding.filter((c) => takesWork(c) && c.model === 'fetching').length, 'still fetching it'],
    [holding.filter((c) => takesWork(c) && c.model === 'loading').length, 'still loading it'],
    [holding.filter((c) => takesWork(c) && c.model === 'held').length, 'waiting for memory to load it'],
    [serving.filter((c) => excluded.has(c.device)).length, 'refused this request'],
    [unable.length, `${cannot} before an update of {its} agent`],
  ];
  const said = groups
    .filter(([count]) => count > 0)
    .map(([count, what]) => {
      const isAll = count === holding.length && !isPart;
      const subject = isAll ? (count === 1 ? 'it' : count === 2 ? 'both' : 'all') : String(count);
      const isVerb = what === 'refused this request' || what.startsWith('cannot');
      const verb = isVerb ? '' : subject === 'it' || count === 1 ? 'is ' : 'are ';
      return `${subject} ${verb}${what.replace('{its}', plural(count, 'its', 'their'))}`;
    });
  return said.join(', ');
}
