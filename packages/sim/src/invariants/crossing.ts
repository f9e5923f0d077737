/**
 * Invariant 6: nothing crosses a territory. No device is sent or runs what is asked in another community, nobody is
 * told what another's device says, nothing that opens a door of one opens one of another, and neither's log and sums
 * have anything of the other's in them.
 */
import type { CreateChecker } from './checker.ts';

export const createCrossing: CreateChecker = (blame, facts) => {
  const isOwn = (request: number): boolean => request >= facts.requests.from && request < facts.requests.to;
  /** Once for each pair: what follows is the same fault. */
  const blamed = new Set<string>();
  const blameOnce = (what: string): void => {
    if (!blamed.has(what)) blame(what);
    blamed.add(what);
  };
  return {
    see(event) {
      switch (event.e) {
        case 'ordered':
        case 'ran':
          if (!isOwn(event.request))
            blameOnce(`request ${event.request} of another community reached ${event.device} (${event.e})`);
          return;
        case 'told':
          if (facts.deviceOf(event.device) === undefined) blameOnce(`${event.device}, of another, was told something`);
          return;
        case 'placed':
          for (const { cid } of event.models)
            if (!facts.models().has(cid)) blameOnce(`${event.device} is to hold ${cid}, which its community has not`);
          return;
        case 'token':
        case 'finished':
          if (event.via !== undefined && facts.deviceOf(event.via.device) === undefined)
            blameOnce(`request ${event.request} was told what ${event.via.device} said, of another community`);
          return;
        case 'trespass':
          if (event.opened) blameOnce(`${event.what} of another community opens a door here`);
          return;
        default:
      }
    },
    inspect({ audit, receipts }) {
      const strangers = facts.strangers();
      for (const { seq, actor, subject } of audit)
        for (const id of [actor, subject])
          if (strangers.has(id)) blameOnce(`entry ${seq} of the log names ${id}, of another community`);
      for (const { device_id: device } of receipts)
        if (strangers.has(device)) blameOnce(`a receipt is of ${device}, of another community`);
    },
  };
};
