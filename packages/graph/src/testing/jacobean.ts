/** The bundled model, for tests: a real decoder of 3 M parameters. */
import { readFileSync } from 'node:fs';

export const readJacobean = (): Uint8Array =>
  new Uint8Array(readFileSync(new URL('../../../../models/jacobean/onnx/model.onnx', import.meta.url)));
