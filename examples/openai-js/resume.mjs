// A stream that breaks and goes on where it broke, with OpenAI's own client. To show it, this hangs up twice by itself.
//   IDLEWILD_KEY=… node examples/openai-js/resume.mjs "What news from Rome?"
import { setTimeout as wait } from 'node:timers/promises';
import OpenAI, { APIError } from 'openai';

const { IDLEWILD_URL = 'http://127.0.0.1:7860', IDLEWILD_KEY, IDLEWILD_MODEL = 'jacobean' } = process.env;
if (!IDLEWILD_KEY) throw new Error('set IDLEWILD_KEY to the key that npm start prints');
const content = process.argv[2] ?? 'What news from Rome?';

// A request that is refused or does not connect is asked again by the client itself.
const openai = new OpenAI({ baseURL: `${IDLEWILD_URL}/v1`, apiKey: IDLEWILD_KEY, maxRetries: 5 });
const question = {
  model: IDLEWILD_MODEL,
  messages: [{ role: 'user', content }],
  max_tokens: 60,
  seed: 7,
  stream: true,
};
const name = crypto.randomUUID();
let lastId;
let isWhole = false;

/** What one connection brings, in pieces that came whole: up to an event with an id. */
async function* pieces() {
  const headers = { 'Idempotency-Key': name, ...(lastId ? { 'Last-Event-ID': lastId } : {}) };
  // The client's own reader forgets the ids of events, so the response is read here.
  const response = await openai.chat.completions.create(question, { headers }).asResponse();
  let unread = '';
  let piece = '';
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (unread + text).split('\n\n');
    unread = events.pop();
    for (const event of events) {
      const data = /^data: (.*)$/m.exec(event)?.[1];
      const id = /^id: (.*)$/m.exec(event)?.[1];
      if (data === '[DONE]') isWhole = true;
      else piece += JSON.parse(data).choices[0]?.delta.content ?? '';
      if (id === undefined) continue;
      lastId = id;
      yield piece;
      piece = '';
    }
  }
}

console.log(`› ${content}\n`);
for (let breaks = 0; !isWhole; breaks++) {
  if (breaks === 10) throw new Error('the stream broke ten times');
  try {
    let count = 0;
    for await (const piece of pieces()) {
      process.stdout.write(piece);
      if (breaks < 2 && ++count > 10) throw new TypeError('we hung up');
    }
  } catch (error) {
    // The hub's own refusals are final here; a connection that broke is not.
    if (error instanceof APIError && error.status !== undefined) throw error;
    await wait(100 * 2 ** breaks);
  }
}
console.log();
