/**
 * Invariant 7: every privileged act that was acknowledged is in the audit log exactly once, every device that is
 * enrolled got in by an act in the log, nothing that was denied is there, and the log's chain verifies and only grows.
 */
import type { CreateChecker } from './checker.ts';

/** Acts of the hub itself and of devices, which no steward is asked for. */
const BY_ITSELF = new Set(['createTerritory', 'enrolDevice']);
/** Notes of who was let in and who was refused: not acts, and anybody may have caused them. */
const NOTES = new Set(['used', 'denied']);

export const createAudit: CreateChecker = (blame) => {
  const done: { readonly action: string; readonly subject: string; readonly actor: string }[] = [];
  /** How often it was tried; the hub may have died after it was written. */
  const tried = new Map<string, number>();
  const tryOnce = (action: string, subject: string): void => {
    const act = `${action} of ${subject}`;
    tried.set(act, (tried.get(act) ?? 0) + 1);
  };
  let known: readonly string[] = [];
  return {
    see(event) {
      if (event.e === 'act') done.push(event);
      if (event.e === 'trusting') tryOnce('tierDevice', event.device);
      if (event.e === 'trying') tryOnce(event.action, event.subject);
    },
    inspect({ audit, auditBroken, enrolled }) {
      if (auditBroken !== undefined) blame(`the chain is broken: ${auditBroken}`);
      const hashes = audit.map(({ hash }) => Buffer.from(hash).toString('hex'));
      if (known.some((hash, at) => hashes[at] !== hash)) blame('entries that were there have changed or gone');
      known = hashes;
      const entries = new Map<string, number>();
      const textOf = (action: string, subject: string, actor: string): string => `${action} of ${subject} by ${actor}`;
      for (const { action, subject, actor } of audit) {
        const text = textOf(action, subject, actor);
        entries.set(text, (entries.get(text) ?? 0) + 1);
        if (NOTES.has(action)) continue;
        if (!BY_ITSELF.has(action) && !/^(key|hub)_/.test(actor)) blame(`the log says that ${actor} did ${action}`);
      }
      for (const { action, subject, actor } of done) {
        const text = textOf(action, subject, actor);
        const times = entries.get(text) ?? 0;
        const wanted = done.filter((other) => textOf(other.action, other.subject, other.actor) === text).length;
        const most = tried.get(`${action} of ${subject}`) ?? wanted;
        if (times < wanted || times > most) blame(`${text} is ${times} times in the log, and was done ${wanted} times`);
      }
      const admitted = new Set(audit.filter(({ action }) => action === 'enrolDevice').map(({ subject }) => subject));
      for (const id of enrolled) if (!admitted.has(id)) blame(`${id} is enrolled, and the log does not know of it`);
    },
  };
};
