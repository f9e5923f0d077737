/** What a running hub does with its territory's audit log, beside writing acts: notes, heads, proofs and reports. */
import { messageOf, type Clock, type Crypto, type KeyPair } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import type { Certificate } from '../identity/territory.ts';
import type { Log } from '../log.ts';
import type { Duty } from '../replicas/port.ts';
import type { Audit } from './audit.ts';
import { noteOf, noteOfDevice, type Decision, type RefusedDevice } from './decisions.ts';
import { createAuditHeads, type AuditHeads } from './heads.ts';
import { createAuditProofs, type AuditProofs } from './proofs.ts';
import { createRecorder, type Note } from './recorder.ts';
import { reportOf, type AuditReport, type ReportRange } from './report.ts';

export interface AuditDesk {
  readonly heads: AuditHeads;
  readonly proofs: AuditProofs;
  /** Notes what a door decided. Waits for nothing and throws nothing. */
  onDecision(decision: Decision): void;
  /** The same of a device that was not let in. */
  onRefusedDevice(refused: RefusedDevice): void;
  report(range: ReportRange): Promise<AuditReport>;
  /** Writes what was noted, and signs a last head. */
  stop(): Promise<void>;
}

export interface AuditDeskDeps {
  readonly db: Database;
  /** Of the database: people read its times. */
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly log: Log;
  readonly audit: Audit;
  readonly duty: Duty;
  readonly territory: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array };
  readonly hubKey: KeyPair;
  readonly certificate: Certificate;
}

export function createAuditDesk(deps: AuditDeskDeps): AuditDesk {
  const { db, clock, crypto, log, audit, territory } = deps;
  const heads = createAuditHeads(deps);
  const recorder = createRecorder({ db, audit, clock, log, territory: territory.id });
  function noteSafely(make: () => Note | undefined): void {
    try {
      const note = make();
      if (note !== undefined) recorder.note(note);
    } catch (error) {
      log.error({ why: messageOf(error) }, 'a decision could not be noted in the audit log');
    }
  }
  return {
    heads,
    proofs: createAuditProofs({ db, crypto, heads, territory }),
    onDecision: (decision) => noteSafely(() => noteOf(decision, territory.id)),
    onRefusedDevice: (refused) => noteSafely(() => noteOfDevice(refused, territory.id)),
    report: (range) => reportOf({ db, heads, territory }, range),
    async stop() {
      await recorder.stop();
      await heads.stop();
    },
  };
}
