/** The audit log under /api: to read, to copy, to hold against what was seen before, and to report from. */
import { auditRecordJson, entryProofJson, hex, type AuditRecord } from '@idlewild/protocol';
import { z } from 'zod';
import type { Audit } from '../../audit/audit.ts';
import type { AuditDesk } from '../../audit/desk.ts';
import { AUDIT_LIMITS } from '../../audit/limits.ts';
import { typed, type App } from '../server.ts';
import { LISTED_MAX, iso } from './views.ts';

export interface AuditRouteDeps {
  readonly territory: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array };
  readonly audit: Audit;
  readonly auditDesk: AuditDesk;
}

export const auditRoutes =
  (deps: AuditRouteDeps) =>
  (app: App): void => {
    listRoute(app, deps);
    copyRoutes(app, deps);
    proofRoutes(app, deps);
    reportRoute(app, deps);
  };

const seqSchema = z.coerce.number().int().min(1).max(AUDIT_LIMITS.seqMax);
const headView = (head: { size: number; statement: Uint8Array; certificate: Uint8Array }): object => ({
  size: head.size,
  statement: hex(head.statement),
  certificate: hex(head.certificate),
});

const entryView = ({ seq, atMs, actor, action, subject, details, hash }: AuditRecord): object => ({
  seq,
  at: iso(atMs),
  actor,
  action,
  subject,
  details: JSON.parse(details) as unknown,
  hash: hex(hash),
});

const instantSchema = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));
const nameSchema = z.string().min(1).max(AUDIT_LIMITS.nameCharactersMax);
/** Once, or several times for one of several. */
const namesSchema = z
  .union([nameSchema.transform((name) => [name]), z.array(nameSchema).max(AUDIT_LIMITS.searchNamesMax)])
  .optional();

const searchSchema = z.strictObject({
  actor: namesSchema,
  action: namesSchema,
  subject: namesSchema,
  since: instantSchema.optional(),
  until: instantSchema.optional(),
  beforeSeq: seqSchema.optional(),
  afterSeq: z.coerce.number().int().min(0).max(AUDIT_LIMITS.seqMax).optional(),
  order: z.enum(['newest', 'oldest']).default('newest'),
  limit: z.coerce.number().int().min(1).max(LISTED_MAX).default(LISTED_MAX),
});

function listRoute(app: App, { territory, audit, auditDesk }: AuditRouteDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/audit',
    config: { action: 'readAudit' },
    schema: {
      querystring: searchSchema,
      summary:
        'The audit log, newest first, or what is looked for in it (`*` in an action stands for any characters), and ' +
        'whether the chain of what is shown holds',
      tags: ['audit'],
    },
    handler: async (request) => {
      const { actor: actors, action: actions, subject: subjects, since, until, order, ...range } = request.query;
      const found = await audit.search({
        territory: territory.id,
        ...{ actors, actions, subjects, fromMs: since, untilMs: until, oldestFirst: order === 'oldest' },
        ...range,
      });
      const signFault = auditDesk.heads.fault();
      const head = await auditDesk.heads.newest();
      const why = found.fault?.why ?? signFault;
      return {
        intact: why === undefined,
        ...(found.fault === undefined ? {} : { brokenAt: found.fault.seq }),
        ...(why === undefined ? {} : { why }),
        signed: head === undefined ? null : { entries: head.size, at: iso(head.atMs), root: hex(head.root) },
        last: found.lastSeq,
        next: found.next ?? null,
        ...(found.actions === undefined ? {} : { actions: found.actions }),
        entries: found.entries.map(entryView),
      };
    },
  });
}

function copyRoutes(app: App, { territory, audit, auditDesk }: AuditRouteDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/audit/entries',
    config: { action: 'readAudit' },
    schema: {
      querystring: z.strictObject({
        afterSeq: z.coerce.number().int().min(0).max(AUDIT_LIMITS.seqMax).default(0),
        limit: z.coerce.number().int().min(1).max(AUDIT_LIMITS.pageRows).default(AUDIT_LIMITS.pageRows),
      }),
      summary: 'Entries of the audit log as they were hashed, oldest first',
      tags: ['audit'],
    },
    handler: async (request) => ({
      entries: (await audit.records({ territory: territory.id, ...request.query })).map(auditRecordJson),
    }),
  });
  typed(app).route({
    method: 'GET',
    url: '/api/audit/heads',
    config: { action: 'readAudit' },
    schema: { summary: 'Heads of the audit log that are kept, each signed by its hub', tags: ['audit'] },
    handler: async () => {
      // What was just done is to be in the copy that is about to be made.
      await auditDesk.heads.write();
      const heads = await auditDesk.heads.list();
      return {
        territory: { id: territory.id, name: territory.name, key: hex(territory.publicKey) },
        heads: heads.map(headView),
      };
    },
  });
}

function proofRoutes(app: App, { auditDesk }: AuditRouteDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/audit/proof',
    config: { action: 'readAudit' },
    schema: {
      querystring: z.strictObject({ seq: seqSchema }),
      summary: 'One entry with the proof that it is in the log (RFC 9162, 2.1.3)',
      tags: ['audit'],
    },
    handler: async (request) => entryProofJson(await auditDesk.proofs.entry(request.query.seq)),
  });
  typed(app).route({
    method: 'GET',
    url: '/api/audit/consistency',
    config: { action: 'readAudit' },
    schema: {
      querystring: z.strictObject({ from: seqSchema }),
      summary: 'That the log of so many entries is the beginning of today’s (RFC 9162, 2.1.4)',
      tags: ['audit'],
    },
    handler: async (request) => {
      const { head, path } = await auditDesk.proofs.growth(request.query.from);
      return { head: headView(head), path: path.map(hex) };
    },
  });
}

function reportRoute(app: App, { auditDesk }: AuditRouteDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/audit/report',
    config: { action: 'readAudit' },
    schema: {
      querystring: z.strictObject({ from: instantSchema, to: instantSchema }),
      summary: 'The transparency report: requests, refusals, acts and energy between two instants',
      tags: ['audit'],
    },
    handler: async (request) => {
      const { from: fromMs, to: toMs } = request.query;
      const { log, ...report } = await auditDesk.report({ fromMs, toMs });
      const signed = log && { entries: log.entries, signedAt: iso(log.signedAtMs), root: hex(log.root) };
      return { from: iso(fromMs), to: iso(toMs), ...report, log: signed };
    },
  });
}
