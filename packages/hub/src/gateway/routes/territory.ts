/** The community that is asked, for its own stewards: what it is called. */
import { LIMITS } from '@idlewild/protocol';
import { z } from 'zod';
import { actorOf } from '../../identity/principal.ts';
import type { TerritoryName } from '../../identity/territory-name.ts';
import { principal, typed, type App } from '../server.ts';

export interface TerritoryRouteDeps {
  readonly territory: { readonly id: string };
  readonly naming: TerritoryName;
}

export const territoryRoute =
  ({ territory, naming }: TerritoryRouteDeps) =>
  (app: App): void => {
    typed(app).route({
      method: 'PATCH',
      url: '/api/territory',
      config: { action: 'renameTerritory' },
      schema: {
        body: z.strictObject({ name: z.string().max(LIMITS.nameCharactersMax) }),
        summary: 'Another name for this community; its id and key stay',
        tags: ['territories'],
      },
      handler: async (request) => {
        await naming.rename({ ...request.body, actor: actorOf(principal(request)) });
        return { id: territory.id, name: naming.current() };
      },
    });
  };
