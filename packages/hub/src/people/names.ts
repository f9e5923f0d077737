/**
 * Names of people, groups and roles, as they are kept: what looks the same is the same, nothing in one steers a
 * terminal or a log, and none passes for an id.
 *
 * People are called what they like, in any script, after RFC 8266: NFKC, single spaces, none at the ends. Groups and
 * roles have slugs, since policies and commands name them; a role of one's own does not look like a built-in one.
 */
import { IdlewildError } from '@idlewild/protocol';
import { BUILT_IN_ROLES } from '../policy/built-in-roles.ts';
import { PEOPLE_LIMITS } from './limits.ts';

const SLUG = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
/** Controls, marks of direction and width, private and unassigned code points, breaks of lines. */
const UNFIT = /[\p{C}\p{Zl}\p{Zp}]/u;
const SOMETHING = /[\p{L}\p{N}]/u;
const LOOKS_LIKE_AN_ID = /^[a-z]{3}_[a-z2-7]{26}$/;
const MAX = PEOPLE_LIMITS.nameCharactersMax;

/** What a person is called. Throws `invalid_request`. */
export function personName(text: string): string {
  // Before anything is folded: a line break is no space that somebody typed.
  if (UNFIT.test(text)) throw invalid(text, 'has characters that cannot be seen, or breaks its line');
  const name = text
    .normalize('NFKC')
    .replace(/\p{Zs}+/gu, ' ')
    .trim();
  if (!SOMETHING.test(name)) throw invalid(text, 'has neither a letter nor a digit');
  if (name.length > MAX) throw invalid(text, `is longer than ${MAX} characters`);
  if (LOOKS_LIKE_AN_ID.test(name)) throw invalid(text, 'looks like an id');
  return name;
}

/** Name of a group. Throws `invalid_request`. */
export function groupName(text: string): string {
  const name = text.normalize('NFKC').trim();
  if (name.length > MAX || !SLUG.test(name)) {
    throw invalid(text, `is not made of small letters, digits and hyphens, at most ${MAX} of them`);
  }
  return name;
}

/** Name of a role of the territory's own. Throws `invalid_request` for one that could be taken for a built-in one. */
export function roleName(text: string): string {
  const name = groupName(text);
  const like = BUILT_IN_ROLES.find((role) => isLike(skeleton(name), skeleton(role)));
  if (like !== undefined) throw invalid(text, `could be taken for the built-in role ${like}; call it something else`);
  return name;
}

const invalid = (text: string, why: string): IdlewildError =>
  new IdlewildError('invalid_request', `the name ${JSON.stringify(text.slice(0, MAX))} ${why}`);

const LIKE: readonly (readonly [RegExp, string])[] = [
  [/-/g, ''],
  [/0/g, 'o'],
  [/[1i]/g, 'l'],
  [/3/g, 'e'],
  [/4/g, 'a'],
  [/5/g, 's'],
  [/7/g, 't'],
  [/8/g, 'b'],
  [/vv/g, 'w'],
  [/rn/g, 'm'],
];

/** The same for what looks the same at a glance. */
const skeleton = (slug: string): string => LIKE.reduce((text, [from, to]) => text.replace(from, to), slug);

/** The same but for one letter that was added, left out, changed, or swapped with its neighbour. */
function isLike(text: string, other: string): boolean {
  if (Math.abs(text.length - other.length) > 1) return false;
  let start = 0;
  while (start < text.length && text[start] === other[start]) start++;
  const [rest, otherRest] = [text.slice(start), other.slice(start)];
  const isSwapped = rest[0] === otherRest[1] && rest[1] === otherRest[0] && rest.slice(2) === otherRest.slice(2);
  return (
    isSwapped || rest.slice(1) === otherRest.slice(1) || rest.slice(1) === otherRest || rest === otherRest.slice(1)
  );
}
