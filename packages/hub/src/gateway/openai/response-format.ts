/** /v1/responses: an answer as a resource, whole or as events. */
import type { Choice } from './choice.ts';
import type { AnswerFormat } from './deliver.ts';
import { createResponseEvents } from './response-events.ts';
import { endOf, itemsOf, responseHead, standing, statusOf, type ResponseContext } from './response-resource.ts';

export function createResponseFormat(context: ResponseContext): AnswerFormat {
  const head = responseHead(context);
  return {
    createEvents: () => createResponseEvents(context, head),
    whole(choices) {
      const choice = choices[0] as Choice;
      const { outcome } = choice;
      const items = itemsOf(context, choice);
      return { ...head, ...standing(statusOf(outcome), items, endOf(context, outcome)) };
    },
  };
}
