/**
 * The part of a bus that is one territory's: its rooms use the words they always use, and hear nothing of another's.
 *
 * What a replica tells of its territories goes over one connection; here each subject gets the territory's id in front.
 * The connection is not this one's to close.
 */
import type { Bus } from './port.ts';

export function createTerritoryBus(bus: Bus, territory: string): Bus {
  const before = `${territory}.`;
  return {
    publish: (subject, bytes) => bus.publish(before + subject, bytes),
    subscribe: (pattern, onMessage) =>
      bus.subscribe(before + pattern, (message) =>
        onMessage({
          subject: message.subject.slice(before.length),
          bytes: message.bytes,
          respond: (bytes) => message.respond(bytes),
        }),
      ),
    request: (subject, bytes, options) => bus.request(before + subject, bytes, options),
    isUp: () => bus.isUp(),
    onChange: (listener) => bus.onChange(listener),
    close: async () => {},
  };
}
