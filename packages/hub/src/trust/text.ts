/**
 * What a request says of its texts, and for whom it asks: all that decides, beside what devices can do, which of them
 * may see it. A text is never less delicate than its key is for.
 */
import { DATA_CLASSES, type DataClass } from '@idlewild/protocol';

export interface AskedText {
  readonly dataClass: DataClass;
  /** A slug: to whose good it is. */
  readonly cause: string | undefined;
  /** Id of the person who asks, where somebody does. */
  readonly person: string | undefined;
}

/** Whether `one` is for fewer eyes than `other`. */
export const isMoreDelicate = (one: DataClass, other: DataClass): boolean =>
  DATA_CLASSES.indexOf(one) > DATA_CLASSES.indexOf(other);

export const moreDelicate = (one: DataClass, other: DataClass): DataClass => (isMoreDelicate(one, other) ? one : other);

/** Texts of which a device says the same: what it refused once it refuses of all of them. */
export const sortOf = ({ dataClass, cause }: Pick<AskedText, 'dataClass' | 'cause'>): string =>
  `${dataClass} ${cause ?? ''}`;
