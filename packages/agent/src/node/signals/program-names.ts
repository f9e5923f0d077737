/** Names of programs as people write them and as systems list them: without folder, ending `.exe`, and case. */

export interface ProgramNames {
  /** A name or a path of a process that runs. */
  see(program: string): void;
  /** Of the listed ones, those seen, as the lender wrote them. */
  seen(): readonly string[];
}

export function createProgramNames(listed: readonly string[]): ProgramNames {
  const wanted = new Map(listed.map((name) => [bare(name), name]));
  wanted.delete('');
  const found = new Set<string>();
  return {
    see(program) {
      const name = wanted.get(bare(program));
      if (name !== undefined) found.add(name);
    },
    seen: () => listed.filter((name) => found.has(name)),
  };
}

/** The last part of a path of either kind of slash. */
const bare = (program: string): string =>
  (program.split(/[/\\]/).at(-1) ?? '')
    .trim()
    .replace(/\.exe$/i, '')
    .toLowerCase();
