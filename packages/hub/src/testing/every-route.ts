/**
 * Every route that the OpenAPI document has, and everything that each can be asked with one text: in its path, its
 * query and the texts of its body. For tests that try something on all of them, and so on those to come.
 *
 * Bodies come from the schemas; what no schema tells is in `RECIPES`.
 */
interface Schema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly format?: string;
  readonly minimum?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}
interface Operation {
  readonly parameters?: readonly {
    readonly in: string;
    readonly name: string;
    readonly schema: Schema;
    readonly required?: boolean;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
}
export interface Route {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

/** What makes things comes last: under the name that another's thing has there may well be one here. */
export async function everyRoute(url: string, fetch: typeof globalThis.fetch): Promise<Route[]> {
  const document = (await (await fetch(`${url}/api/openapi.json`)).json()) as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  };
  const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
  const makes = ({ method, path }: Route): number => Number(method !== 'GET' && !path.includes('{'));
  return routes.sort((a, b) => makes(a) - makes(b));
}

/** A value that the schema takes, with `handle` wherever it takes any text. */
function made(schema: Schema, handle: string): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  const [first] = schema.anyOf ?? schema.oneOf ?? [];
  if (first !== undefined) return made(first, handle);
  switch (schema.type) {
    case 'string':
      if (schema.format === 'date-time') return '2026-01-01T00:00:00Z';
      return schema.format === 'date' ? '2026-01-01' : handle;
    case 'integer':
    case 'number':
      return Math.max(1, schema.minimum ?? 1);
    case 'boolean':
      return true;
    case 'array':
      return schema.items === undefined ? [] : [made(schema.items, handle)];
    case 'object':
      return Object.fromEntries(
        Object.entries(schema.properties ?? {})
          .filter(([name]) => schema.required?.includes(name))
          .map(([name, each]) => [name, made(each, handle)]),
      );
    default:
      return handle;
  }
}

const bodyOf = (operation: Operation): Schema | undefined => operation.requestBody?.content['application/json']?.schema;
/** Optional texts of a body, each of which may be a handle. */
const optionalTexts = (schema: Schema): string[] =>
  Object.entries(schema.properties ?? {})
    .filter(([name, each]) => !schema.required?.includes(name) && takesText(each))
    .map(([name]) => name);
const takesText = (schema: Schema): boolean =>
  (schema.type === 'string' && schema.enum === undefined) || (schema.anyOf ?? schema.oneOf ?? []).some(takesText);

export interface Attempt {
  readonly path: string;
  readonly body: unknown;
}

/** Everything that the route can be asked with this handle. */
export function attempts({ method, path, operation }: Route, handle: string): Attempt[] {
  const name = `${method} ${path}`;
  const at = path.replace(/\{\w+\}/g, encodeURIComponent(handle));
  const queries = (operation.parameters ?? []).filter((each) => each.in === 'query');
  const needed = queries.filter(({ required }) => required === true);
  const base = needed.map((each) => `${each.name}=${encodeURIComponent(String(made(each.schema, handle)))}`);
  const withQuery = (more: readonly string[]): string => {
    const all = [...base, ...more];
    return all.length === 0 ? at : `${at}?${all.join('&')}`;
  };
  const schema = bodyOf(operation);
  const body = RECIPES[name]?.(handle) ?? (schema === undefined ? undefined : made(schema, handle));
  const all: Attempt[] = [{ path: withQuery([]), body }];
  for (const each of queries)
    if (takesText(each.schema)) all.push({ path: withQuery([`${each.name}=${encodeURIComponent(handle)}`]), body });
  if (schema !== undefined && schema.anyOf === undefined)
    for (const field of optionalTexts(schema))
      all.push({ path: withQuery([]), body: { ...(body as object), [field]: handle } });
  return all;
}

/** Bodies that cannot be told from a schema alone. */
const RECIPES: Readonly<Record<string, (handle: string) => unknown>> = {
  'PATCH /api/keys/{id}': () => ({ requestsPerMinute: 10 }),
  'PUT /api/roles/{name}': () => ({ permissions: ['answer'] }),
  'POST /api/roles': (handle) => ({ name: `of-${handle}`, permissions: ['answer'] }),
  'POST /api/stewards': (handle) => ({
    name: handle,
    key: Buffer.from(handle.padEnd(32)).subarray(-32).toString('base64url'),
  }),
  // An address that is one, and where nothing may be asked.
  'POST /api/providers': (handle) => ({ name: handle, issuer: 'https://10.0.0.1', clientId: handle }),
  'PUT /api/use': (handle) => ({ rules: { v: 1 }, signed: handle }),
  'PATCH /api/caps': (handle) => ({ kind: 'key', subject: handle, tokensPerDay: 1 }),
};
