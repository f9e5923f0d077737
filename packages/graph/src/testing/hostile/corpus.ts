/**
 * Graphs that somebody might publish to harm a device, each with what it tries; none may pass the checker.
 *
 * Built by code, from one small product of matrices that passes, so that each differs from a good graph in one thing
 * and is refused for that. They are files, as a device gets them: some are not even graphs.
 */
import { writeGraph } from '../../write.ts';
import { FILES, type Case, type Hostile } from './base.ts';
import { files } from './files.ts';
import { combined, growth, sizes } from './growth.ts';
import { loops, nodes, packs, tooMany } from './nodes.ts';
import { operators, paths } from './places.ts';

/** All of them; names are unique, and the one that is large comes last. */
export function hostileGraphs(): Hostile[] {
  const cases = [
    ...operators(),
    ...paths(),
    ...sizes(),
    ...growth(),
    ...combined(),
    ...loops(),
    ...nodes(),
    ...packs(),
  ];
  return [...cases.map(asFile), ...files(), asFile(tooMany())];
}

function asFile([name, tries, says, graph, lengths = FILES]: Case): Hostile {
  return { name, tries, bytes: writeGraph(graph), files: lengths, code: 'model_refused', says };
}
