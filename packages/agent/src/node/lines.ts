/** Lines of text from a stream of bytes, each of a bounded length; one that is longer ends the reading. */
import type { Readable } from 'node:stream';

export interface LineReader {
  readonly bytesMax: number;
  onLine(line: string): void;
  /** Called once; nothing is read after it. */
  onTooLong(): void;
}

const NEWLINE = 0x0a;

export function readLines(stream: Readable, { bytesMax, onLine, onTooLong }: LineReader): void {
  let parts: Buffer[] = [];
  let bytes = 0;
  let isOver = false;
  stream.on('data', (chunk: Buffer) => {
    let from = 0;
    while (!isOver) {
      const at = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, at === -1 ? chunk.length : at);
      bytes += part.length;
      if (bytes > bytesMax) {
        isOver = true;
        parts = [];
        return onTooLong();
      }
      parts.push(part);
      if (at === -1) return;
      const line = Buffer.concat(parts).toString('utf8');
      parts = [];
      bytes = 0;
      from = at + 1;
      if (line.trim() !== '') onLine(line);
    }
  });
}
