/**
 * For an option that may be given several times, with one value each: one that takes what follows it for as long as
 * there is anything would take the arguments of the command, too.
 */
export const several = (value: string, before: readonly string[]): readonly string[] => [...before, value];
