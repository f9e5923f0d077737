/**
 * Loading a model with a deadline. A host that hangs or ignores its signal costs one failed load; an engine that
 * arrives after it was given up is closed, so that no process is left behind.
 */
import { IdlewildError, asIdlewildError, type Clock } from '@idlewild/protocol';
import type { Engine, EngineHost, EngineLimits, EngineModel, Halting } from '@idlewild/engine';
import { AGENT_LIMITS } from './limits.ts';

/** Throws what the host throws; `engine_failed` past the deadline; `cancelled` when `signal` is aborted. */
export function loadEngine(
  { clock, engineHost }: { clock: Clock; engineHost: EngineHost },
  model: EngineModel,
  limits: EngineLimits,
  signal: AbortSignal,
  onStarted?: (process: Halting) => void,
): Promise<Engine> {
  return new Promise((resolve, reject) => {
    const abort = new AbortController();
    let settled = false;
    const settle = (act: () => void): void => {
      if (settled) return;
      settled = true;
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const giveUp = (error: IdlewildError): void =>
      settle(() => {
        abort.abort(error);
        reject(error);
      });
    const onAbort = (): void => giveUp(new IdlewildError('cancelled', `the loading of ${model.cid} was called off`));
    const timer = clock.after(AGENT_LIMITS.loadMsMax, () =>
      giveUp(new IdlewildError('engine_failed', `${model.cid} did not load within ${AGENT_LIMITS.loadMsMax} ms`)),
    );
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) return onAbort();
    engineHost.load(model, limits, abort.signal, onStarted).then(
      (engine) => {
        if (settled)
          engine.close({ atOnce: true }).catch(() => undefined /* given up already: nobody waits for its end */);
        else settle(() => resolve(engine));
      },
      (thrown: unknown) => settle(() => reject(asIdlewildError(thrown, `loading the model ${model.cid}`))),
    );
  });
}
