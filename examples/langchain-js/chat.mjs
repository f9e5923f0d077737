// A chain of LangChain.js: a prompt with a hole in it, a model, and the text of its answer as it is written.
//   IDLEWILD_KEY=… node examples/langchain-js/chat.mjs "the sea"
import { StringOutputParser } from '@langchain/core/output_parsers';
import { ChatPromptTemplate } from '@langchain/core/prompts';
import { ChatOpenAI } from '@langchain/openai';

const { IDLEWILD_URL = 'http://127.0.0.1:7860', IDLEWILD_KEY, IDLEWILD_MODEL = 'jacobean' } = process.env;
if (!IDLEWILD_KEY) throw new Error('set IDLEWILD_KEY to the key that npm start prints');
const topic = process.argv[2] ?? 'the sea';

const prompt = ChatPromptTemplate.fromMessages([['user', 'Speak to me of {topic}.']]);
const model = new ChatOpenAI({
  model: IDLEWILD_MODEL,
  apiKey: IDLEWILD_KEY,
  configuration: { baseURL: `${IDLEWILD_URL}/v1` },
  maxTokens: 80,
});
const chain = prompt.pipe(model).pipe(new StringOutputParser());

console.log(`› Speak to me of ${topic}.\n`);
for await (const piece of await chain.stream({ topic })) process.stdout.write(piece);
console.log();
