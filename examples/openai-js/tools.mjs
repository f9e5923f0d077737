// The loop of an agent: the model calls a function of ours, gets its result, and goes on, for a few rounds at most.
//   IDLEWILD_KEY=… node examples/openai-js/tools.mjs
import OpenAI from 'openai';

const { IDLEWILD_URL = 'http://127.0.0.1:7860', IDLEWILD_KEY, IDLEWILD_MODEL = 'jacobean' } = process.env;
if (!IDLEWILD_KEY) throw new Error('set IDLEWILD_KEY to the key that npm start prints');
const ROUNDS_MAX = 2;

const tools = [
  {
    type: 'function',
    function: {
      name: 'count_ships',
      description: 'How many ships lie in a harbour.',
      parameters: {
        type: 'object',
        properties: { harbour: { type: 'string', enum: ['Dover', 'Calais', 'Ostia'] } },
        required: ['harbour'],
        additionalProperties: false,
      },
    },
  },
];
const ships = { Dover: 12, Calais: 7, Ostia: 31 };
const functions = { count_ships: ({ harbour }) => ({ harbour, ships: ships[harbour] }) };

const openai = new OpenAI({ baseURL: `${IDLEWILD_URL}/v1`, apiKey: IDLEWILD_KEY });
const messages = [{ role: 'user', content: 'How many ships lie at Dover?' }];
console.log(`› ${messages[0].content}`);
for (let round = 1; ; round++) {
  const isLast = round > ROUNDS_MAX;
  const answer = await openai.chat.completions.create({
    model: IDLEWILD_MODEL,
    messages,
    tools,
    // A small model would not think of it by itself: it must call in the first round, and may not in the last.
    tool_choice: round === 1 ? 'required' : isLast ? 'none' : 'auto',
    parallel_tool_calls: false,
    max_tokens: 60,
  });
  const { message } = answer.choices[0];
  messages.push(message);
  if (!message.tool_calls?.length) {
    console.log(`\n${message.content}`);
    break;
  }
  for (const { id, function: called } of message.tool_calls) {
    const result = functions[called.name](JSON.parse(called.arguments));
    console.log(`  ${called.name}(${called.arguments}) = ${JSON.stringify(result)}`);
    messages.push({ role: 'tool', tool_call_id: id, content: JSON.stringify(result) });
  }
}
