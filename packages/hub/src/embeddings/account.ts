/**
 * What a request for vectors used, written once it is over: a line in `requests` that was never open, through the same
 * journal as answers, so that sums and limits of keys know no difference. Of its texts nothing is written.
 */
import type { Journal } from '../answers/journal/journal.ts';
import type { EmbedAccount } from './port.ts';

const NO_TEXT = { prompt: { kind: 'text', text: '' }, sampling: { seed: 0 }, choice: 0, stop: [] } as const;

export const accountIn =
  (journal: Pick<Journal, 'open' | 'close'>) =>
  async ({ request, territory, key, hold, model, text, ...used }: EmbedAccount): Promise<void> => {
    // Both in one batch: what opens and closes together leaves its line alone.
    const opened = journal.open({ request, territory, key, model, work: { ...NO_TEXT, stop: [] }, text, hold });
    const closed = journal.close({ request, ...used, answerTokens: 0, exact: true });
    await Promise.all([opened, closed]);
  };
