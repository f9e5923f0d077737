// An answer as it is written, with Vercel's AI SDK, and what it took.
//   IDLEWILD_KEY=… node examples/vercel-ai-sdk/chat.mjs "What news from Rome?"
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { streamText } from 'ai';

const { IDLEWILD_URL = 'http://127.0.0.1:7860', IDLEWILD_KEY, IDLEWILD_MODEL = 'jacobean' } = process.env;
if (!IDLEWILD_KEY) throw new Error('set IDLEWILD_KEY to the key that npm start prints');
const question = process.argv[2] ?? 'What news from Rome?';

const idlewild = createOpenAICompatible({
  name: 'idlewild',
  baseURL: `${IDLEWILD_URL}/v1`,
  apiKey: IDLEWILD_KEY,
  includeUsage: true,
});
const answer = streamText({
  model: idlewild(IDLEWILD_MODEL),
  prompt: question,
  maxOutputTokens: 80,
  // By itself the SDK prints an error and ends the text there.
  onError({ error }) {
    throw error;
  },
});

console.log(`› ${question}\n`);
for await (const piece of answer.textStream) process.stdout.write(piece);
const { inputTokens, outputTokens } = await answer.usage;
console.log(`\n\n${inputTokens} tokens read, ${outputTokens} written`);
