/**
 * Whether open answers may go on, and on the devices that have them: rights and trust change while answers are made.
 *
 * It ends what may not go on, and takes an answer from a device that may see its text no longer. It decides neither:
 * `policy/permit.ts` and `trust/barred.ts` do.
 */
import { messageOf, type IdlewildError } from '@idlewild/protocol';
import type { Log } from '../log.ts';
import { endRefused } from '../policy/permit.ts';
import { EVERYWHERE } from '../policy/reach.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { barOf } from '../trust/barred.ts';
import type { Trust } from '../trust/trust.ts';
import type { Attempts } from './attempts.ts';
import type { MachineEvent } from './machine.ts';
import type { OpenAnswer } from './open-answer.ts';
import type { AnswerRequest } from './port.ts';

export interface Rights {
  /** Whether the device may see the text of what is asked. */
  maySee(device: ConnectedDevice, request: AnswerRequest): boolean;
  /** To be called several times a second. */
  check(): void;
  /** What devices may see changed. */
  takeBack(): void;
}

export interface RightsDeps {
  readonly sessions: Pick<Sessions, 'get'>;
  readonly trust: Pick<Trust, 'demandOf'>;
  readonly attempts: Pick<Attempts, 'running'>;
  /** All answers here. */
  readonly open: ReadonlyMap<string, OpenAnswer>;
  apply(answer: OpenAnswer, event: MachineEvent): void;
  readonly log: Log;
}

export function createRights({ sessions, trust, attempts, open, apply, log }: RightsDeps): Rights {
  const maySee: Rights['maySee'] = (device, { text, permit }) =>
    barOf(device, trust.demandOf(text, permit)) === undefined;
  const permitOf = ({ request }: OpenAnswer): AnswerRequest['permit'] => request.permit;
  const cancel = (answer: OpenAnswer, { code, message: why }: IdlewildError): void =>
    apply(answer, { t: 'cancel', code, why });
  const onUnasked = (error: unknown): void =>
    log.error({ why: messageOf(error) }, 'whether open answers may go on could not be asked');

  function takeBackFrom(isOf: (request: AnswerRequest) => boolean): void {
    for (const answer of attempts.running()) {
      const { request, state } = answer;
      const device = isOf(request) ? sessions.get(state.attempt?.device ?? '') : undefined;
      if (device === undefined || maySee(device, request)) continue;
      const why = `the device ${device.name} may no longer see ${request.text.dataClass} data`;
      apply(answer, { t: 'lost', device: device.id, code: 'forbidden', why });
    }
  }

  return {
    maySee,
    check() {
      endRefused(open.values(), permitOf, cancel, onUnasked);
      // What was a right for some devices may be one for fewer now.
      takeBackFrom(({ permit }) => permit.reach() !== EVERYWHERE);
    },
    takeBack: () => takeBackFrom(() => true),
  };
}
