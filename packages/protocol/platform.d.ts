/**
 * The few globals that core code may use: what Node and browsers share and what neither time, chance nor the
 * network hides in. Each tsconfig.core.json includes this file in the place of Node's types and the DOM's, so what is
 * not here does not compile there; `AbortSignal.timeout`, which reads the real clock, is left out on purpose.
 */

declare class TextEncoder {
  readonly encoding: string;
  encode(input?: string): Uint8Array<ArrayBuffer>;
  encodeInto(source: string, destination: Uint8Array): { read: number; written: number };
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(input?: ArrayBufferView | ArrayBuffer, options?: { stream?: boolean }): string;
}

declare class AbortSignal {
  static abort(reason?: unknown): AbortSignal;
  static any(signals: Iterable<AbortSignal>): AbortSignal;
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean; signal?: AbortSignal }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

declare class AbortController {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
}

/** Of the WHATWG's standard; what it reads is a text, and nothing is dialled. */
declare class URL {
  constructor(url: string, base?: string);
  readonly hostname: string;
}

declare function structuredClone<Value>(value: Value): Value;
declare function queueMicrotask(callback: () => void): void;
