/**
 * Policies as stewards write them: a text of Cedar, in which every policy names itself with `@id("…")`.
 *
 * A text that does not hold is refused with Cedar's own words and the place, line and column. A warning of Cedar's is a
 * fault, too: it is about a policy that can never apply or compares what is never equal.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { DetailedError } from '@cedar-policy/cedar-wasm/nodejs';
import { SCHEMA, textOf, type Cedar, type PolicyJson } from './cedar.ts';
import { POLICY_LIMITS } from './limits.ts';
import { nestingFault } from './nesting.ts';

/** As a steward names it; its policies are `NAME/ID`. */
export interface OwnText {
  readonly name: string;
  readonly text: string;
}

export interface PolicyFault {
  readonly message: string;
  /** From 1. */
  readonly line?: number;
  readonly column?: number;
}

export interface NamedPolicy {
  /** Of its annotation. */
  readonly id: string;
  readonly json: PolicyJson;
}

const ID = /^[a-z0-9][a-z0-9-]{0,63}$/;

/** `known` are the roles that may be named; absent: any. Throws `policy_invalid` with all faults in its details. */
export function readPolicies(
  cedar: Cedar,
  { name, text }: OwnText,
  known: ReadonlySet<string> | undefined,
): NamedPolicy[] {
  const faults = faultsOf(cedar, text, known);
  if (faults.length > 0) throw invalid(name, faults);
  const policies = policiesOf(cedar, text);
  const seen = new Set<string>();
  for (const { id } of policies) {
    if (!ID.test(id)) {
      const message = 'each policy names itself: write @id("some-name") before it, in a to z, 0 to 9 and "-"';
      throw invalid(name, [{ message: id === '' ? message : `@id("${id.slice(0, 80)}"): ${message}` }]);
    }
    if (seen.has(id)) throw invalid(name, [{ message: `two policies have the name "${id}"` }]);
    seen.add(id);
  }
  if (policies.length > POLICY_LIMITS.policiesOfTextMax)
    throw invalid(name, [{ message: `it has more than ${POLICY_LIMITS.policiesOfTextMax} policies` }]);
  return policies;
}

/** The policies of a text that was checked before. */
export function policiesOf(cedar: Cedar, text: string): NamedPolicy[] {
  const parts = cedar.policySetTextToParts(text);
  if (parts.type === 'failure') throw new Error(parts.errors.map(textOf).join('; '));
  return parts.policies.map((part) => {
    const answer = cedar.policyToJson(part);
    if (answer.type === 'failure') throw new Error(answer.errors.map(textOf).join('; '));
    return { id: answer.json.annotations?.id ?? '', json: answer.json };
  });
}

function faultsOf(cedar: Cedar, text: string, known: ReadonlySet<string> | undefined): PolicyFault[] {
  const tooDeep = nestingFault(text);
  if (tooDeep !== undefined) return [{ message: tooDeep.message, ...placeOf(text.slice(0, tooDeep.at)) }];
  const parts = cedar.policySetTextToParts(text);
  if (parts.type === 'failure') return parts.errors.flatMap((error) => located(text, error));
  if (parts.policy_templates.length > 0)
    return [{ message: 'it has a template (?principal or ?resource), which nothing would ever fill in' }];
  const roles = known === undefined ? undefined : [...known].map((role) => JSON.stringify(role)).join(', ');
  const schema = roles === undefined ? SCHEMA : SCHEMA.replace('entity Role;', `entity Role enum [${roles}];`);
  const answer = cedar.validate({ schema, policies: { staticPolicies: text } });
  if (answer.type === 'failure') return answer.errors.flatMap((error) => located(text, error));
  const all = [...answer.validationErrors, ...answer.validationWarnings].map(({ error }) => error);
  return [...all, ...answer.otherWarnings].flatMap((error) => located(text, error));
}

function located(text: string, error: DetailedError): PolicyFault[] {
  // Cedar numbers the policies of a text; the place says which one it is.
  const message = textOf(error).replace(/^for policy `policy\d+`, /, '');
  const place = error.sourceLocations?.[0];
  if (place === undefined) return [{ message }];
  const expected = place.label === null ? '' : ` (${place.label})`;
  // Offsets are of UTF-8.
  const before = Buffer.from(text).subarray(0, place.start).toString('utf8');
  return [{ message: message + expected, ...placeOf(before) }];
}

function placeOf(before: string): { readonly line: number; readonly column: number } {
  const lines = before.split('\n');
  return { line: lines.length, column: (lines.at(-1) ?? '').length + 1 };
}

function invalid(name: string, faults: readonly PolicyFault[]): IdlewildError {
  const said = faults.map(({ message, line, column }) =>
    line === undefined ? message : `line ${line}, column ${column}: ${message}`,
  );
  return new IdlewildError(
    'policy_invalid',
    `the policy "${name}" does not hold, and nothing was changed: ${said.join('; ')}`,
    { details: { policy: name, faults } },
  );
}
