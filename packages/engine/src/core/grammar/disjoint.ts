/**
 * Whether no value follows two schemas at once, as far as that shows: by their types, their constants, or a property
 * that both require and that is disjoint itself. Where it shows, "exactly one of them" is "one of them".
 */

type Schema = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Tags within tags. */
const DEPTH_MAX = 4;

/** `resolve` follows a reference. */
export function areDisjoint(a: unknown, b: unknown, resolve: (ref: string) => unknown, depth = 0): boolean {
  const [one, other] = [follow(a, resolve), follow(b, resolve)];
  if (!isObject(one) || !isObject(other) || depth > DEPTH_MAX) return false;
  const [values, otherValues] = [valuesOf(one), valuesOf(other)];
  if (values !== undefined && otherValues !== undefined) return !values.some((value) => otherValues.includes(value));
  const [types, otherTypes] = [typesOf(one), typesOf(other)];
  if (types === undefined || otherTypes === undefined) return false;
  if (!types.some((type) => otherTypes.includes(type))) return true;
  // What is no object might follow both.
  if (types.join() !== 'object' || otherTypes.join() !== 'object') return false;
  const [properties, otherProperties] = [one['properties'], other['properties']];
  if (!isObject(properties) || !isObject(otherProperties)) return false;
  return requiredOf(one).some(
    (key) =>
      requiredOf(other).includes(key) &&
      Object.hasOwn(properties, key) &&
      Object.hasOwn(otherProperties, key) &&
      areDisjoint(properties[key], otherProperties[key], resolve, depth + 1),
  );
}

function follow(schema: unknown, resolve: (ref: string) => unknown): unknown {
  let found = schema;
  for (let i = 0; i < DEPTH_MAX && isObject(found) && typeof found['$ref'] === 'string'; i++)
    found = resolve(found['$ref']);
  return found;
}

/** Constants as JSON, which is how they would be written. */
function valuesOf(schema: Schema): string[] | undefined {
  if ('const' in schema) return [JSON.stringify(schema['const'])];
  const values = schema['enum'];
  return Array.isArray(values) ? values.map((value) => JSON.stringify(value)) : undefined;
}

function typesOf(schema: Schema): string[] | undefined {
  const { type } = schema;
  if (type === undefined) {
    const values = valuesOf(schema)?.map((value) => typeOf(JSON.parse(value)));
    return values && [...new Set(values)];
  }
  const types = (Array.isArray(type) ? type : [type]).map((one) => (one === 'integer' ? 'number' : String(one)));
  return schema['nullable'] === true ? [...types, 'null'] : types;
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

const requiredOf = (schema: Schema): string[] =>
  (Array.isArray(schema['required']) ? schema['required'] : []) as string[];
