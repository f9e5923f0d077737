// Which of a few sentences is nearest in meaning to a question. Needs a model that embeds, named in IDLEWILD_MODEL.
//   IDLEWILD_KEY=… IDLEWILD_MODEL=minilm node examples/openai-js/embeddings.mjs "Who rules?"
import OpenAI from 'openai';

const { IDLEWILD_URL = 'http://127.0.0.1:7860', IDLEWILD_KEY, IDLEWILD_MODEL } = process.env;
if (!IDLEWILD_KEY) throw new Error('set IDLEWILD_KEY to the key that npm start prints');
if (!IDLEWILD_MODEL) throw new Error('set IDLEWILD_MODEL to the name of an encoder: npx idlewild models list');
const question = process.argv[2] ?? 'Who rules this land?';
const sentences = ['The king sits upon his throne.', 'The ships are lost at sea.', 'Bread is dear this winter.'];

const openai = new OpenAI({ baseURL: `${IDLEWILD_URL}/v1`, apiKey: IDLEWILD_KEY });
const { data } = await openai.embeddings.create({ model: IDLEWILD_MODEL, input: [question, ...sentences] });
const [asked, ...told] = data.map(({ embedding }) => embedding);

const dot = (one, other) => one.reduce((sum, value, index) => sum + value * other[index], 0);
const cosine = (one, other) => dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other));

console.log(`› ${question}\n`);
sentences
  .map((sentence, index) => ({ sentence, nearness: cosine(asked, told[index]) }))
  .sort((one, other) => other.nearness - one.nearness)
  .forEach(({ sentence, nearness }) => console.log(`${nearness.toFixed(3)}  ${sentence}`));
