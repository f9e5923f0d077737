/**
 * How deep and how long a policy is, read from its text before Cedar sees it.
 *
 * Cedar's engine goes down into an expression by calling itself, in a stack of 1 MiB. Beyond it the engine of the whole
 * process breaks for good, for every community that it serves: measured (cedar-wasm 4.12), at 150 brackets within each
 * other, or 400 operators in a row, and the latter only when the policy is asked, after it was taken. So what could go
 * that deep is refused. Each bracket, operator and dot may be a step down; nothing else is.
 *
 * It knows strings and comments as Cedar's lexer does, and nothing of what a policy means.
 */
import { POLICY_LIMITS } from './limits.ts';

export interface NestingFault {
  readonly message: string;
  /** In the text, in UTF-16 units. */
  readonly at: number;
}

// A string also where it does not end, so that each place is looked at once; comments end at either line end.
const TOKEN = /"(?:[^"\\]|\\.)*(?:"|\\?$)|\/\/[^\n\r]*|&&|\|\||[=!<>]=|[()[\]{};.+\-*!<>]|\b(?:if|in|is|has|like)\b/gs;

/** The first place at which a policy is deeper, or longer, than policies may be. */
export function nestingFault(text: string): NestingFault | undefined {
  let depth = 0;
  let steps = 0;
  for (const { 0: token, index: at } of text.matchAll(TOKEN)) {
    if (token.startsWith('"') || token.startsWith('//')) continue;
    if (token === ';') {
      [depth, steps] = [0, 0];
      continue;
    }
    if (')]}'.includes(token)) {
      depth = Math.max(0, depth - 1);
      continue;
    }
    if ('([{'.includes(token) && ++depth > POLICY_LIMITS.bracketsDeepMax)
      return { at, message: `brackets are at most ${POLICY_LIMITS.bracketsDeepMax} deep` };
    if (++steps > POLICY_LIMITS.stepsOfPolicyMax) {
      const message = `a policy has at most ${POLICY_LIMITS.stepsOfPolicyMax} operators and brackets; make two of it`;
      return { at, message };
    }
  }
  return undefined;
}
