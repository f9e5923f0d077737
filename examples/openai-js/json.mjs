// An answer that is valid JSON of the shape one asked for, whatever the model: it cannot write anything else.
//   IDLEWILD_KEY=… node examples/openai-js/json.mjs
import OpenAI from 'openai';

const { IDLEWILD_URL = 'http://127.0.0.1:7860', IDLEWILD_KEY, IDLEWILD_MODEL = 'jacobean' } = process.env;
if (!IDLEWILD_KEY) throw new Error('set IDLEWILD_KEY to the key that npm start prints');

const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 24 },
    rank: { type: 'string', enum: ['king', 'duke', 'servant'] },
    alive: { type: 'boolean' },
  },
  required: ['name', 'rank', 'alive'],
  additionalProperties: false,
};

const openai = new OpenAI({ baseURL: `${IDLEWILD_URL}/v1`, apiKey: IDLEWILD_KEY });
const answer = await openai.chat.completions.create({
  model: IDLEWILD_MODEL,
  messages: [{ role: 'user', content: 'Name somebody at court.' }],
  max_tokens: 120,
  response_format: { type: 'json_schema', json_schema: { name: 'courtier', strict: true, schema } },
});

const { name, rank, alive } = JSON.parse(answer.choices[0].message.content);
console.log(`${name}, ${rank}, ${alive ? 'alive' : 'dead'}`);
