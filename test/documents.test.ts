import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const root = path.join(import.meta.dirname, '..');
const spanish = ['.', 'docs'].flatMap((folder) =>
  readdirSync(path.join(root, folder))
    .filter((name) => name.endsWith('.es.md'))
    .map((name) => path.join(folder, name)),
);

/** What a translation leaves as it is. */
function skeleton(markdown: string) {
  const blocks = [...markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)].map(([, language = '', text = '']) => ({
    language,
    text,
  }));
  const prose = markdown.replace(/^```[\s\S]*?^```/gm, '');
  // A comment behind a command or on a line of its own, the name of a placeholder and a reason are words.
  const command = (line: string) =>
    line
      .replace(/(^|\s+)#(?! VERSION).*$/, '')
      .replace(/<[^>]*>/g, '<>')
      .replace(/--reason "[^"]*"/, '--reason ""')
      .trimEnd();
  return {
    headings: [...prose.matchAll(/^(#+) (.*)$/gm)].map(([, level, text = '']) => [level, text.match(/`[^`]+`/g) ?? []]),
    commands: blocks
      .filter(({ language }) => language === 'sh' || language === 'yaml')
      .map(({ text }) => text.split('\n').map(command)),
    rows: prose.match(/^\|/gm)?.length ?? 0,
    inline: [...prose.matchAll(/`((?:npm|npx|node|git|gh|sudo|bash) [^`]+)`/g)].map(([, text = '']) =>
      command(text.replace(/\s+/g, ' ')),
    ),
  };
}

describe('documents in both languages', () => {
  it('are found', () => expect(spanish.length).toBeGreaterThanOrEqual(6));

  it.each(spanish)('%s has the headings and commands of its English counterpart', (file) => {
    const english = path.join(root, file.replace('.es.md', '.md'));
    expect(existsSync(english)).toBe(true);
    const text = readFileSync(path.join(root, file), 'utf8');
    expect(skeleton(text)).toEqual(skeleton(readFileSync(english, 'utf8')));
  });

  it('would not pass with a heading, a command or an inline command that one of them lacks', () => {
    const base = '# A\n\nRun `npm test`.\n\n```sh\nnpm ci  # all\n```\n';
    expect(skeleton(base.replace('# A', '# B').replace('# all', '# todo'))).toEqual(skeleton(base));
    for (const other of [`${base}\n## B\n`, base.replace('npm ci', 'npm i'), base.replace('npm test', 'npm start')]) {
      expect(skeleton(other)).not.toEqual(skeleton(base));
    }
  });
});

describe('workflows that the READMEs show', () => {
  const read = (file: string) => readFileSync(path.join(root, file), 'utf8');
  const calls = ['README.md', 'README.es.md'].flatMap((readme) =>
    [...read(readme).matchAll(/^```yaml\n([\s\S]*?)^```/gm)].flatMap(([, text = '']) => callsOf(parse(text))),
  );

  it('call what exists, with the inputs that it has and all that it requires', () => {
    expect(calls.length).toBe(10);
    for (const { uses, given } of calls) {
      const called = /^OWNER\/onnx-quantize-actions(?:\/(.+))?@0{40}$/.exec(uses)?.[1] ?? '.';
      const file = called.endsWith('.yml') ? called : path.join(called, 'action.yml');
      const { on, inputs: own } = parse(read(file)) as { on?: { workflow_call: { inputs: Inputs } }; inputs?: Inputs };
      const inputs = own ?? on?.workflow_call.inputs ?? {};
      expect(Object.keys(inputs)).toEqual(expect.arrayContaining(given));
      const required = Object.keys(inputs).filter((name) => inputs[name]?.required);
      expect(given, uses).toEqual(expect.arrayContaining(required));
    }
  });
});

type Inputs = Record<string, { required?: boolean } | undefined>;

/** Whatever has `uses` in a workflow or a list of steps, with the names of what it is given. */
function callsOf(value: unknown): { uses: string; given: string[] }[] {
  if (typeof value !== 'object' || value === null) return [];
  const { uses, with: given = {} } = value as { uses?: string; with?: object };
  const own = typeof uses === 'string' ? [{ uses, given: Object.keys(given) }] : [];
  return [...own, ...Object.values(value).flatMap(callsOf)];
}
