/**
 * JSON Schema (2020-12, and what of draft 7 is written alike) as a grammar whose texts all follow the schema.
 *
 * The grammar may be narrower than the schema, never wider: properties come in the order in which the schema lists
 * them, and others than those only where it lists none. A keyword that would have to be ignored is refused by name.
 * Annotations say nothing about a text and are passed over.
 */
import { IdlewildError } from '@idlewild/protocol';
import { LIMITS } from '../limits.ts';
import { areDisjoint } from './disjoint.ts';
import { FORMATS } from './formats.ts';
import {
  ARRAY,
  INTEGER,
  NUMBER,
  OBJECT,
  SPACE,
  STRING,
  VALUE,
  between,
  jsonRules,
  listOf,
  member,
  stringOf,
} from './json.ts';
import { integerWithin, numberWithin } from './numbers.ts';
import { patternRule } from './pattern.ts';
import { NOTHING, all, any, name, optional, text, type Grammar, type Rule } from './rules.ts';

type Schema = Readonly<Record<string, unknown>>;
type Types = 'null' | 'boolean' | 'integer' | 'number' | 'string' | 'array' | 'object';

const ANNOTATIONS = new Set(
  '$schema $id $anchor $comment $defs definitions title description default examples deprecated readOnly writeOnly'
    .split(' ')
    .concat('example', 'contentMediaType', 'contentEncoding', 'discriminator', 'strict', 'nullable'),
);
/** What each keyword is about: of another type it says nothing. */
const KEYWORDS: Readonly<Record<string, readonly Types[]>> = {
  properties: ['object'],
  required: ['object'],
  additionalProperties: ['object'],
  items: ['array'],
  prefixItems: ['array'],
  minItems: ['array'],
  maxItems: ['array'],
  minLength: ['string'],
  maxLength: ['string'],
  pattern: ['string'],
  format: ['string'],
  minimum: ['integer', 'number'],
  maximum: ['integer', 'number'],
  exclusiveMinimum: ['integer', 'number'],
  exclusiveMaximum: ['integer', 'number'],
};
const STRUCTURE = ['type', 'enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref'];
const TYPES: readonly Types[] = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object'];

const isObject = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const refuse = (path: string, what: string): never => {
  throw new IdlewildError('invalid_request', `the schema${path === '' ? '' : ` at ${path.slice(0, 200)}`} ${what}`);
};

/** The text of a schema as a grammar. Throws `invalid_request` that names what is wrong or not supported. */
export function schemaGrammar(source: string): Grammar {
  const rules = jsonRules();
  return { root: schemaRule(source, rules), rules };
}

/**
 * The same as a rule, with what it needs added to `rules`, which hold `jsonRules` already. `type`: the schema must be
 * of that type, and is taken to be where it does not say.
 */
export function schemaRule(source: string, rules: Map<string, Rule>, type?: 'object'): Rule {
  if (source.length > LIMITS.schemaCharactersMax)
    refuse('', `has ${source.length} characters; at most ${LIMITS.schemaCharactersMax} are supported`);
  let schema: unknown;
  try {
    schema = JSON.parse(source);
  } catch (cause) {
    throw new IdlewildError('invalid_request', `the schema is not valid JSON: ${(cause as Error).message}`, { cause });
  }
  const typed = type !== undefined && isObject(schema) && schema['$ref'] === undefined ? { type, ...schema } : schema;
  if (typed !== schema && (typed as Schema)['type'] !== type) refuse('', `is not of the type "${type as string}"`);
  return createReader(schema, rules)(typed, '', 0);
}

type Read = (schema: unknown, path: string, depth: number) => Rule;

/** Reads schemas of one document; what recurs becomes a rule of its own in `rules`. */
function createReader(document: unknown, rules: Map<string, Rule>): Read {
  let made = 0;
  const referred = new Map<string, Rule>();
  const define = (rule: Rule): Rule => {
    if (rule.kind === 'name') return rule;
    const key = `schema${rules.size}`;
    rules.set(key, rule);
    return name(key);
  };

  function read(schema: unknown, path: string, depth: number): Rule {
    if (++made > LIMITS.schemaNodesMax) refuse(path, `has more than ${LIMITS.schemaNodesMax} parts`);
    if (depth > LIMITS.schemaDepthMax) refuse(path, `is nested deeper than ${LIMITS.schemaDepthMax}`);
    if (schema === true) return VALUE;
    if (!isObject(schema)) return refuse(path, 'is neither an object nor true');
    const used = Object.keys(schema).filter((key) => !ANNOTATIONS.has(key));
    for (const key of used) {
      const isNeutral = key === 'uniqueItems' && schema[key] === false;
      if (!STRUCTURE.includes(key) && !Object.hasOwn(KEYWORDS, key) && !isNeutral)
        refuse(path, `has the keyword "${key.slice(0, 64)}", which is not supported`);
    }
    for (const key of ['$ref', 'allOf', 'anyOf', 'oneOf', 'const', 'enum']) {
      const others = used.filter((other) => other !== key && other !== 'type');
      if (used.includes(key) && others.length > 0)
        refuse(path, `has "${others[0] as string}" beside "${key}", which is not supported`);
    }
    if (schema['$ref'] !== undefined) return readRef(schema, path, depth);
    if (schema['allOf'] !== undefined) return readAllOf(schema, path, depth);
    for (const key of ['anyOf', 'oneOf'] as const)
      if (schema[key] !== undefined) return readAnyOf(key, schema, path, depth);
    const types = typesOf(schema, path);
    if ('const' in schema) return readValues([schema['const']], types, path);
    if (schema['enum'] !== undefined) return readEnum(schema, types, path);
    if (types === undefined && used.length === 0) return VALUE;
    return any(...(types ?? inferred(used)).map((type) => readType(type, schema, path, depth)));
  }

  function readRef(schema: Schema, path: string, depth: number): Rule {
    const ref = schema['$ref'];
    if (typeof ref !== 'string' || !/^#(\/|$)/.test(ref))
      return refuse(path, `refers to ${JSON.stringify(ref)}; only references within the schema (#/…) are supported`);
    if (schema['type'] !== undefined) refuse(path, 'has "type" beside "$ref", which is not supported');
    let rule = referred.get(ref);
    if (rule === undefined) {
      // Known before it is read: it may refer to itself.
      rule = define(NOTHING);
      referred.set(ref, rule);
      const key = (rule as { name: string }).name;
      rules.set(key, read(resolve(document, ref, path), ref, depth + 1));
    }
    return rule;
  }

  function readAllOf(schema: Schema, path: string, depth: number): Rule {
    const parts = schema['allOf'];
    if (!Array.isArray(parts) || parts.length !== 1 || schema['type'] !== undefined)
      return refuse(path, 'has "allOf", which is supported with a single schema and nothing beside it');
    return read(parts[0], `${path}/allOf/0`, depth + 1);
  }

  function readAnyOf(key: 'anyOf' | 'oneOf', schema: Schema, path: string, depth: number): Rule {
    const parts: unknown = schema[key];
    if (!Array.isArray(parts) || parts.length === 0) return refuse(path, `has "${key}" that is no list of schemas`);
    const { type } = schema;
    const follow = (ref: string): unknown => resolve(document, ref, path);
    const isOne =
      key === 'anyOf' || parts.every((one, i) => parts.slice(i + 1).every((other) => areDisjoint(one, other, follow)));
    if (key === 'oneOf' && !isOne)
      refuse(path, 'has "oneOf" of schemas that one value may follow together; "anyOf" is supported for these');
    // Of one type, as some generators write: each part is of that type or says its own.
    const branches = parts.map((part: unknown, i): Rule => {
      const typed = type !== undefined && isObject(part) && part['type'] === undefined ? { type, ...part } : part;
      if (type !== undefined && (!isObject(typed) || typed['type'] !== type))
        refuse(path, `has "type" beside "${key}" of other types, which is not supported`);
      return read(typed, `${path}/${key}/${i}`, depth + 1);
    });
    return any(...branches);
  }

  function readType(type: Types, schema: Schema, path: string, depth: number): Rule {
    switch (type) {
      case 'null':
        return text('null');
      case 'boolean':
        return any(text('true'), text('false'));
      case 'integer':
      case 'number':
        return readNumber(type, schema, path);
      case 'string':
        return readString(schema, path, rules);
      case 'array':
        // What a list holds stands in its rule twice: by name, or lists in lists would double with each.
        return readArray(schema, path, depth, (...item) => define(read(...item)));
      case 'object':
        return readObject(schema, path, depth, read, define);
    }
  }
  return read;
}

/** Whatever the keywords speak of; without a type a schema allows the other types too, and needs not be given them. */
function inferred(used: readonly string[]): Types[] {
  const types = new Set<Types>(used.flatMap((key) => KEYWORDS[key] ?? []).filter((type) => type !== 'integer'));
  return TYPES.filter((type) => types.has(type));
}

function typesOf(schema: Schema, path: string): Types[] | undefined {
  const { type } = schema;
  if (type === undefined) return undefined;
  const types: unknown[] = Array.isArray(type) ? type : [type];
  const wrong = types.find((one) => !TYPES.includes(one as Types));
  if (types.length === 0 || wrong !== undefined)
    refuse(path, `has the type ${JSON.stringify(wrong ?? type)}, which is none`);
  if (schema['nullable'] === true && !types.includes('null')) types.push('null');
  return types as Types[];
}

function readEnum(schema: Schema, types: readonly Types[] | undefined, path: string): Rule {
  const values = schema['enum'];
  if (!Array.isArray(values) || values.length === 0 || values.length > LIMITS.schemaEnumMax)
    return refuse(path, `has an "enum" that is no list of 1 to ${LIMITS.schemaEnumMax} values`);
  return readValues(values, types, path);
}

function readValues(values: readonly unknown[], types: readonly Types[] | undefined, path: string): Rule {
  const fit = values.filter((value) => types === undefined || types.some((type) => isOf(value, type)));
  if (fit.length === 0) refuse(path, 'allows no value');
  return any(...fit.map((value) => text(JSON.stringify(value))));
}

function isOf(value: unknown, type: Types): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}

/** A JSON pointer behind `#`. */
function resolve(document: unknown, ref: string, path: string): unknown {
  let found: unknown = document;
  for (const part of ref.split('/').slice(1)) {
    const key = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
    const holder = found as Record<string, unknown> | null;
    if (typeof holder !== 'object' || holder === null || !Object.hasOwn(holder, key))
      return refuse(path, `refers to ${ref.slice(0, 200)}, which is not there`);
    found = holder[key];
  }
  return found;
}

/** A whole number that is not negative, `otherwise` where the keyword is not there. */
function count(schema: Schema, key: string, otherwise: number, path: string): number {
  const value = schema[key] ?? otherwise;
  if (value === Infinity || (Number.isSafeInteger(value) && (value as number) >= 0)) return value as number;
  return refuse(path, `has a "${key}" that is no count`);
}

function readNumber(type: 'integer' | 'number', schema: Schema, path: string): Rule {
  const bound = (key: string): number | undefined => {
    const value = schema[key];
    if (value === undefined || (typeof value === 'number' && Number.isFinite(value))) return value;
    return refuse(path, `has a "${key}" that is no number`);
  };
  const [min, openMin, max, openMax] = [
    bound('minimum'),
    bound('exclusiveMinimum'),
    bound('maximum'),
    bound('exclusiveMaximum'),
  ];
  if ([min, openMin, max, openMax].every((one) => one === undefined)) return type === 'integer' ? INTEGER : NUMBER;
  const minIsOpen = openMin !== undefined && (min === undefined || openMin >= min);
  const maxIsOpen = openMax !== undefined && (max === undefined || openMax <= max);
  const bounds = { min: minIsOpen ? openMin : min, max: maxIsOpen ? openMax : max, minIsOpen, maxIsOpen };
  return type === 'integer' ? integerWithin(bounds) : numberWithin(bounds);
}

function readString(schema: Schema, path: string, rules: Map<string, Rule>): Rule {
  const { pattern, format } = schema;
  const hasLength = schema['minLength'] !== undefined || schema['maxLength'] !== undefined;
  if ([pattern !== undefined, format !== undefined, hasLength].filter(Boolean).length > 1)
    refuse(path, 'has more than one of "pattern", "format" and a length, which is not supported');
  if (format !== undefined && (typeof format !== 'string' || !Object.hasOwn(FORMATS, format)))
    refuse(path, `has the format ${JSON.stringify(format)}, which is not supported`);
  if (pattern !== undefined && typeof pattern !== 'string') refuse(path, 'has a "pattern" that is no text');
  const source = (pattern ?? FORMATS[format as string]) as string | undefined;
  if (source !== undefined) return patternName(source, path, rules);
  const min = count(schema, 'minLength', 0, path);
  const max = count(schema, 'maxLength', Infinity, path);
  if (min > max || min > LIMITS.schemaCountMax) refuse(path, 'has a "minLength" that no string has');
  return stringOf(min, max);
}

/** A rule of its own for each pattern: the library makes its tables once, however often the pattern is there. */
function patternName(source: string, path: string, rules: Map<string, Rule>): Rule {
  const prefix = 'pattern ';
  const key = prefix + source;
  if (!rules.has(key)) {
    if ([...rules.keys()].filter((one) => one.startsWith(prefix)).length >= LIMITS.schemaPatternsMax)
      refuse(path, `has more than ${LIMITS.schemaPatternsMax} different patterns`);
    rules.set(key, all(text('"'), patternRule(source), text('"')));
  }
  return name(key);
}

function readArray(schema: Schema, path: string, depth: number, read: Read): Rule {
  const first = schema['prefixItems'] ?? [];
  if (!Array.isArray(first)) return refuse(path, 'has "prefixItems" that are no list');
  const min = count(schema, 'minItems', 0, path);
  const max =
    schema['items'] === false
      ? Math.min(first.length, count(schema, 'maxItems', Infinity, path))
      : count(schema, 'maxItems', Infinity, path);
  if (min > max || min > LIMITS.schemaCountMax) refuse(path, 'has "minItems" that no array has');
  if (first.length === 0) {
    if (max === 0) return between('[', NOTHING, ']');
    const items = schema['items'];
    if (items === undefined && min === 0 && max === Infinity) return ARRAY;
    return between('[', listOf(items === undefined ? VALUE : read(items, `${path}/items`, depth + 1), min, max), ']');
  }
  if (max < first.length) refuse(path, 'has more "prefixItems" than "maxItems"');
  // All of the first ones are written: fewer would be allowed too.
  const rules = first.map((item: unknown, i) => read(item, `${path}/prefixItems/${i}`, depth + 1));
  const listed = rules.flatMap((rule, i) => (i === 0 ? [rule] : [text(','), SPACE, rule]));
  if (max > first.length) {
    const rest = schema['items'] === undefined ? VALUE : read(schema['items'], `${path}/items`, depth + 1);
    const more = listOf(rest, Math.max(0, min - first.length), max - first.length);
    const tail = all(text(','), SPACE, more.kind === 'repeat' ? more.of : more);
    listed.push(min > first.length ? tail : optional(tail));
  }
  return between('[', all(...listed), ']');
}

function readObject(schema: Schema, path: string, depth: number, read: Read, define: (rule: Rule) => Rule): Rule {
  const properties = schema['properties'] ?? {};
  const required: unknown = schema['required'] ?? [];
  const others = schema['additionalProperties'];
  if (!isObject(properties)) return refuse(path, 'has "properties" that are no object');
  if (!Array.isArray(required) || required.some((one) => typeof one !== 'string'))
    return refuse(path, 'has a "required" that is no list of names');
  const other = others === undefined ? true : others;
  const keys = [...new Set([...Object.keys(properties), ...(required as string[])])];
  if (keys.length === 0) {
    if (other === false) return between('{', NOTHING, '}');
    if (other === true) return OBJECT;
    return between('{', listOf(member(STRING, define(read(other, `${path}/additionalProperties`, depth + 1)))), '}');
  }
  const members = keys.map((key) => {
    const isListed = Object.hasOwn(properties, key);
    if (!isListed && other === false) refuse(path, `requires "${key.slice(0, 64)}", which it does not allow`);
    const value = read(isListed ? properties[key] : other, `${path}/properties/${key}`, depth + 1);
    return { rule: define(member(text(JSON.stringify(key)), value)), isRequired: required.includes(key) };
  });
  // From the last to the first: what may follow when a member came before, and when none did.
  let after: Rule = NOTHING;
  let first: Rule = NOTHING;
  for (const { rule, isRequired } of members.toReversed()) {
    const then = all(text(','), SPACE, rule, after);
    const begin = all(rule, after);
    first = isRequired ? begin : define(any(begin, first));
    after = define(isRequired ? then : any(then, after));
  }
  return between('{', first, '}');
}
