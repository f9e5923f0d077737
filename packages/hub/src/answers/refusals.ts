/** Why an answer is not begun, or not gone on with, at this replica. */
import { IdlewildError } from '@idlewild/protocol';

export const takenOverError = (why = 'another replica went on with this answer'): IdlewildError =>
  new IdlewildError('run_taken_over', `${why}; ask again under its key`);

export const stoppingError = (): IdlewildError =>
  new IdlewildError('hub_stopping', 'the hub is stopping; try again in a moment');
