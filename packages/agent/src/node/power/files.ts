/** What reading power needs of a machine. Whatever is missing or may not be read is `undefined`, and nothing throws. */
export interface PowerFiles {
  /** A file that the kernel makes up from memory, at once. */
  peek(path: string): string | undefined;
  /** A file that may ask hardware. */
  read(path: string): Promise<string | undefined>;
  /** Names in a folder; empty where there is none. */
  list(path: string): readonly string[];
}

/** Whole and not negative; garbage and a file that was cut short are nothing. */
export function countOf(text: string | undefined): number | undefined {
  const digits = text?.trim() ?? '';
  if (!/^\d{1,20}$/.test(digits)) return undefined;
  return Number(digits);
}

export const SUPPLIES = '/sys/class/power_supply';

/** Folders of the machine's own batteries; those of mice and pens are none of its. */
export async function batteriesOf(files: Pick<PowerFiles, 'list' | 'read'>): Promise<string[]> {
  const own: string[] = [];
  for (const name of files.list(SUPPLIES)) {
    const folder = `${SUPPLIES}/${name}`;
    const [type, scope] = await Promise.all([files.read(`${folder}/type`), files.read(`${folder}/scope`)]);
    if (type?.trim() === 'Battery' && scope?.trim() !== 'Device') own.push(folder);
  }
  return own;
}
