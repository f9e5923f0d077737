/** What the process says at its end. The numbers are promised in docs/cli.md, which a test holds to this table. */

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  refused: 4,
  notFound: 5,
  notNow: 6,
  broken: 7,
  interrupted: 130,
} as const;

const EXIT_OF_CODE: Readonly<Record<string, number>> = {
  usage: EXIT.usage,
  hub_unreachable: EXIT.unreachable,
  pin_mismatch: EXIT.refused,
  signature_invalid: EXIT.refused,
  hub_untrusted: EXIT.refused,
  unauthenticated: EXIT.refused,
  forbidden: EXIT.refused,
  model_stopped: EXIT.refused,
  community_closed: EXIT.refused,
  use_refused: EXIT.refused,
  allocation_spent: EXIT.refused,
  spend_cap: EXIT.refused,
  device_unvouched: EXIT.refused,
  sealed_broken: EXIT.refused,
  join_token_invalid: EXIT.refused,
  device_revoked: EXIT.refused,
  consent_refused: EXIT.refused,
  not_found: EXIT.notFound,
  model_not_found: EXIT.notFound,
  too_busy: EXIT.notNow,
  rate_limit_exceeded: EXIT.notNow,
  no_device: EXIT.notNow,
  use_unjudged: EXIT.notNow,
  not_running: EXIT.notNow,
  hub_stopping: EXIT.notNow,
  hub_restarted: EXIT.notNow,
  source_unreachable: EXIT.notNow,
  audit_broken: EXIT.broken,
  cancelled: EXIT.interrupted,
};

/** For the code of an error; what is not in the table failed. */
export const exitOf = (code: string | undefined): number => EXIT_OF_CODE[code ?? ''] ?? EXIT.failed;
