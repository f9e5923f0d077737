/**
 * The one way from a request to work: whether who asks may be answered by this very model, for a text of this class and
 * purpose. What comes of it goes along with the work, and is asked again as long as that runs.
 *
 * Routes of the action `answer` are let in when there is some model by which they may be answered; what makes work for
 * devices needs the permit, so no route can leave this out.
 */
import type { DataClass, MaybePromise } from '@idlewild/protocol';
import { actorOf, type Principal } from '../../identity/principal.ts';
import type { Permit } from '../../policy/permit.ts';
import type { TerritoryPolicy } from '../../policy/policy.ts';
import type { AskedText } from '../../trust/text.ts';
import { textOf } from './said.ts';
import { principal, type FastifyRequest } from '../server.ts';

export interface AdmitDeps {
  readonly policy: Pick<TerritoryPolicy, 'permit'>;
  readonly territory: { readonly id: string };
}

/** What is asked for, beside the CID of the model. */
export interface Asked {
  readonly model: string;
  readonly dataClass: DataClass;
  readonly purpose: string | undefined;
  readonly isSealed: boolean;
}

export interface Admitted {
  readonly key: string;
  readonly text: AskedText;
  readonly permit: Permit;
}

/** Throws `forbidden` with its reasons, `model_stopped`, `unauthenticated`. */
export function permitAnswer(
  { policy, territory }: AdmitDeps,
  asker: Principal,
  { model, dataClass, purpose, isSealed }: Asked,
): MaybePromise<Permit> {
  const project = asker.kind === 'key' ? asker.project : undefined;
  return policy.permit(
    asker,
    'answer',
    { territory: territory.id, id: model, project },
    { dataClass, purpose, isSealed },
  );
}

/** The same of a request whose text its headers describe. */
export async function admit(deps: AdmitDeps, request: FastifyRequest, model: string): Promise<Admitted> {
  const asker = principal(request);
  const text = textOf(request);
  const permit = await permitText(deps, request, model, text, false);
  return { key: actorOf(asker), text, permit };
}

/** The same of a text that was described before. */
export const permitText = (
  deps: AdmitDeps,
  request: FastifyRequest,
  model: string,
  { dataClass, cause: purpose }: AskedText,
  isSealed: boolean,
): MaybePromise<Permit> => permitAnswer(deps, principal(request), { model, dataClass, purpose, isSealed });
