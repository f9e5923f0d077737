/** What tests of whole hubs need: the servers that replicas share, as real ones on loopback. */
export { POSTGRES_MISSING, startPostgres, type Postgres, type PostgresEnd } from './postgres.ts';
export { openPostgres } from '../db/open-postgres.ts';
export { startNats, type NatsServer, type NatsServerOptions } from './nats.ts';
export { measureAppends, type AppendPace, type AppendPaceOptions } from '../audit/testing/append-pace.ts';
export { measureSpending, type SpendPace, type SpendPaceOptions } from '../projects/testing/spend-pace.ts';
export { barOf } from '../trust/barred.ts';
export { DEFAULT_TIERS } from '../trust/tiers.ts';
export { EVERYWHERE } from '../policy/reach.ts';
export { openWholeDoor, routesWithoutCell } from '../policy/testing/rbac.ts';
export { measureDecisions, type DecisionPace, type DecisionPaceOptions } from '../policy/testing/decision-pace.ts';
