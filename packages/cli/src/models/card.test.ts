import { modelCardSchema } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { readCard } from './card.ts';
import { readFrontMatter } from './front-matter.ts';

const CARD = `---
language:
- en
- pt-BR
- multilingual
license: apache-2.0 # as its data
base_model: [acme/base, "acme/other"]
datasets:
  - acme/data
model-index:
- name: tiny
  results:
  - task: text-generation
---
# Tiny

<p align="center"><img src="https://example.org/x.png"></p>

| a | b |
|---|---|

**Tiny** is a [small](https://example.org) model.
It has two lines.

\`\`\`python
print("not this")
# Limitations of comments
\`\`\`

## Model Details

### Model Description

<!-- Provide a longer summary -->

Tiny was made for tests.

- **Developed by:** [More Information Needed]
- **Shared by:** nobody

## Intended uses & limitations

### How to use

Ask it *anything*.

## Training

Not this either.

## Bias, Risks, and Limitations

It knows nothing.\u202e\u001b[31m
`;

test('a card is what its head states and the first sentences of what it says', () => {
  expect(readCard(CARD)).toEqual({
    licence: 'apache-2.0',
    description: 'Tiny was made for tests.\n- Shared by: nobody',
    languages: ['en', 'pt-BR'],
    intendedUse: 'Ask it anything.',
    limitations: 'It knows nothing.[31m',
    baseModel: 'acme/base, acme/other',
  });
});

test('without a section for it, what stands under the title describes a model', () => {
  const text = '# Tiny\n\n![badge](https://x)\n\nA _small_ model.\n\nOf two paragraphs.\n\n## Use\nx';
  const { description } = readCard(text);
  expect(description).toBe('A small model.\nOf two paragraphs.');
});

test('the licence is read from the head and from nowhere else', () => {
  const licence = (text: string): string | undefined => readCard(text).licence;
  expect(licence('---\nlanguage: en\nlicense: apache-2.0\n---\n# x')).toBe('apache-2.0');
  expect(licence('---\r\nlicense: "mit"\r\n---')).toBe('mit');
  expect(licence('---\nlicense:\n- mit\n- cc0-1.0\n---\n')).toBe('mit, cc0-1.0');
  expect(licence('---\nlicense: other\nlicense_name: acme-1\nlicense_link: LICENSE\n---\n')).toBe('other (acme-1)');
  expect(licence('# x\nlicense: mit')).toBeUndefined();
  expect(licence('---\nx:\n  license: mit\n---\n')).toBeUndefined();
});

test('a card that nobody filled in is empty', () => {
  expect(readCard('')).toEqual({});
  expect(readCard('---\nlicense:\n---\n## Uses\n\n[More Information Needed]\n')).toEqual({});
  expect(readFrontMatter('---\na: ~\nb: >\n  folded\nc: []\n---\nbody').values).toEqual(
    new Map([
      ['a', []],
      ['b', []],
      ['c', []],
    ]),
  );
});

test('however long or malformed, a card is within its bounds and read at once', () => {
  const head = `---\nlicense: ${'x'.repeat(10_000)}\nlanguage: [${'en, '.repeat(2_000)}]\n---\n`;
  const cards = [
    head + '# x\n' + 'word '.repeat(100_000),
    head + '[('.repeat(100_000),
    head + '<!--'.repeat(60_000),
    head + '*_'.repeat(100_000),
    '---\n'.repeat(60_000),
  ];
  for (const card of cards) expect(modelCardSchema.safeParse(readCard(card)).success).toBe(true);
});
