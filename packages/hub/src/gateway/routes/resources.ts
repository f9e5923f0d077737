/** On what a route acts, as its path names it: for the policy, which is asked before a handler is. */
import { codeOf } from '@idlewild/protocol';
import type { Models } from '../../models/registry.ts';
import type { Resource } from '../../policy/port.ts';
import type { FastifyRequest } from '../server.ts';

type Named = Pick<Resource, 'id'>;
const param = ({ params }: FastifyRequest, name: string): string => (params as Record<string, string>)[name] ?? '';

/** A device or a key, by `:id`. What is not there has an owner as little as a name. */
export const onId = (request: FastifyRequest): Named => ({ id: param(request, 'id') });

/** A model, by `:name`. */
export const onModelOf =
  (models: Pick<Models, 'resolve'>, territory: string) =>
  async (request: FastifyRequest): Promise<Named> => {
    const name = param(request, 'name');
    try {
      return { id: (await models.resolve(territory, name)).cid };
    } catch (error) {
      if (codeOf(error) === 'model_not_found') return { id: name };
      throw error;
    }
  };
