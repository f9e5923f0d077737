/**
 * A device says goodbye: it connects once more, as itself and with nothing to offer, says `leave`, and takes what the
 * hub signs for it.
 *
 * It is a session of its own, after the one that worked: the same words serve a device that runs and one that does not.
 * Whoever says goodbye and hears nothing may say it again; a hub that had written it down already says so.
 */
import { IdlewildError, openLeft, type DeviceProfile, type KeyPair, type LeftStatement } from '@idlewild/protocol';
import { createAgreementKeys } from '../../agreement-key.ts';
import { createSession, type HubAddress, type SessionPorts } from '../../session.ts';
import type { WorkMessage } from '../../session-machine.ts';
import { CONTROL_LIMITS } from './limits.ts';

export interface Leaver {
  readonly identity: KeyPair;
  readonly name: string;
  readonly profile: DeviceProfile;
  /** Signed. */
  readonly consent: Uint8Array;
  readonly hub: HubAddress;
}

export interface Goodbye {
  readonly left: LeftStatement;
  /** As the hub signed it, for whoever doubts it later. */
  readonly statement: Uint8Array;
}

/**
 * Throws what kept the hub from acknowledging it: `hub_unreachable` when nobody answered in time, `device_revoked`,
 * `join_token_invalid` from a hub that never knew the device, `hub_untrusted`, `pin_mismatch`, `signature_invalid`.
 */
export function sayGoodbye(
  ports: SessionPorts,
  { identity, name, profile, consent, hub }: Leaver,
  boundMs: number = CONTROL_LIMITS.leaveMsMax,
): Promise<Goodbye> {
  const { clock, crypto } = ports;
  const keys = createAgreementKeys({ ...ports, identity, onRotated: () => undefined, onFailed: () => undefined });
  const { promise, resolve, reject } = Promise.withResolvers<Goodbye>();
  let seen: IdlewildError | undefined;

  const end = (): void => {
    timer.cancel();
    keys.stop();
    session.stop('the device has left');
  };
  const check = (statement: Uint8Array): Promise<void> =>
    openLeft(statement, { territory: hub.territory, device: identity.publicKey }, crypto).then(
      (left) => resolve({ left, statement: statement.slice() }),
      reject,
    );
  const session = createSession(ports, {
    // A reason that is final for a device that joins is final for one that goes: waiting does not help.
    hub: { ...hub, joinToken: undefined, enrolled: false },
    identity,
    name,
    profile,
    consent,
    agreementKey: () => keys.signed(),
    status: () => ({ state: 'draining', pauseReasons: ['it leaves'], slots: 0, active: 0, models: [] }),
    attempts: () => [],
    onTicket: () => undefined,
    onOpened: () => session.send({ t: 'leave' }),
    onMoved: () => undefined,
    onMessage(message: WorkMessage) {
      if (message.t === 'left') void check(message.statement);
    },
    onLost: () => undefined,
    onBackOff(error) {
      seen = error;
    },
    onEnded(error) {
      const left = error?.details.left;
      if (left instanceof Uint8Array) void check(left);
      else if (error !== undefined) reject(error);
    },
  });
  const timer = clock.after(boundMs, () => {
    const why = seen === undefined ? 'it says nothing of the leaving; it may be too old for it' : seen.message;
    reject(new IdlewildError(seen?.code ?? 'hub_unreachable', `the hub did not acknowledge it: ${why}`));
  });
  session.start();
  return promise.finally(end);
}
