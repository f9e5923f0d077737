// An answer as it is written, with OpenAI's own client.
//   IDLEWILD_KEY=… node examples/openai-js/chat.mjs "What news from Rome?"
import OpenAI from 'openai';

const { IDLEWILD_URL = 'http://127.0.0.1:7860', IDLEWILD_KEY, IDLEWILD_MODEL = 'jacobean' } = process.env;
if (!IDLEWILD_KEY) throw new Error('set IDLEWILD_KEY to the key that npm start prints');
const question = process.argv[2] ?? 'What news from Rome?';

const openai = new OpenAI({ baseURL: `${IDLEWILD_URL}/v1`, apiKey: IDLEWILD_KEY });
const stream = await openai.chat.completions.create({
  model: IDLEWILD_MODEL,
  messages: [{ role: 'user', content: question }],
  max_tokens: 80,
  stream: true,
  stream_options: { include_usage: true },
});

console.log(`› ${question}\n`);
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? '');
  // The last chunk says what it took, and, in a field of Idlewild's own, who did it.
  if (chunk.usage) {
    const { devices, failovers } = chunk.idlewild;
    console.log(`\n\n${chunk.usage.completion_tokens} tokens by ${devices.join(', then ')}, ${failovers} failovers`);
  }
}
