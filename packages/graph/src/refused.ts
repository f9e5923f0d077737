/** The one way in which a check says no. */
import { IdlewildError } from '@idlewild/protocol';

/** `what` goes on from "this graph is refused:" and names the node or tensor at fault. */
export const refused = (what: string): IdlewildError =>
  new IdlewildError('model_refused', `this graph is refused: ${what}`);
