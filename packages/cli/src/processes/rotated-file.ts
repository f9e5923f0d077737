/**
 * A log that is written line by line and never grows beyond its bound: when it is full it becomes `NAME.1`, in place of
 * the one before, and a new one begins.
 *
 * Each line is one write at the file's end, and a full file is moved and not copied: whenever the process is killed,
 * what is there are whole lines in their order. Only a power cut can leave a torn one, and what follows begins below
 * it. One process writes it, the one that holds its folder. A disk that takes no line ends nobody: the line is lost,
 * and counted.
 */
import { closeSync, fstatSync, openSync, readSync, renameSync, writeSync } from 'node:fs';

export const LOG_LIMITS = {
  /** Two of them are 10 MB: weeks of an ordinary device or hub, and nothing that anybody has to look after. */
  fileBytesMax: 5_000_000,
  /** Of one line; a longer one is cut. */
  lineBytesMax: 65_536,
} as const;

export interface RotatedFile {
  /** With or without the line's end. Never throws. */
  write(line: string): void;
}

const NEWLINE = 0x0a;

export function openRotatedFile(path: string, bytesMax: number = LOG_LIMITS.fileBytesMax): RotatedFile {
  let file: number | undefined;
  let size = 0;
  let lost = 0;
  let why = '';

  function open(): number {
    // Read, too: whether the last line was finished.
    const opened = openSync(path, 'a+', 0o600);
    size = fstatSync(opened).size;
    const last = Buffer.alloc(1);
    const isTorn = size > 0 && readSync(opened, last, 0, 1, size - 1) === 1 && last[0] !== NEWLINE;
    if (isTorn) size += writeSync(opened, '\n');
    return opened;
  }
  function append(bytes: Buffer): void {
    file ??= open();
    if (size > 0 && size + bytes.length > bytesMax) {
      close();
      renameSync(path, `${path}.1`);
      file = open();
    }
    size += writeSync(file, bytes);
  }
  function close(): void {
    if (file !== undefined) closeSync(file);
    file = undefined;
  }
  return {
    write(line) {
      try {
        if (lost > 0)
          append(lineOf(JSON.stringify({ level: 'warn', message: `${lost} lines of this log were lost`, why })));
        lost = 0;
        append(lineOf(line));
      } catch (error) {
        lost++;
        why = (error as Error).message;
        close();
      }
    },
  };
}

function lineOf(text: string): Buffer {
  const bytes = Buffer.from(text.endsWith('\n') ? text : `${text}\n`);
  if (bytes.length <= LOG_LIMITS.lineBytesMax) return bytes;
  return Buffer.concat([bytes.subarray(0, LOG_LIMITS.lineBytesMax - 1), Buffer.of(NEWLINE)]);
}
