import { describe, expect, it } from 'vitest';
import { editYaml, type KeyEdit, readKey } from '../../src/config/index.ts';

const edit = (text: string, ...edits: KeyEdit[]) => {
  const result = editYaml(Buffer.from(text), edits, { name: 'sarai.yaml' });
  return { ...result, text: result.bytes.toString() };
};
const MODEL = 'models/onnx/agi_audio_core_int8.onnx';

/** 560 lines with everything that a rewriting serializer would lose. */
function longConfig(newline: string, mark: string): string {
  const lines = [
    '%YAML 1.2',
    '---',
    '# Configuración   de producción\t(con tabuladores\ten comentarios)',
    'defaults: &defaults {threads: 4,   timeout: 2.50}',
    'models:',
    '  trm_mini:',
    "    model_path: 'models/trm/mini.onnx'",
    '    max_memory_mb: 250',
    '',
    '',
    '  audio_omni:',
    '    <<: *defaults',
    '    model_path: models/onnx/agi_audio_core.onnx',
    '    max_memory_mb:   4400\t# límite',
    "    note: 'it''s \"quoted\"'",
    '    prompt: |-',
    '      Línea uno   ',
    '',
    '        línea dos # no es comentario',
  ];
  for (let i = 0; lines.length < 550; i++) {
    lines.push(
      `  component_${i}:  # bloque ${i}`,
      `    model_path : "models/${i}.onnx"  `,
      '    max_memory_mb: 0x10',
      '',
    );
  }
  lines.push('...', '# between documents', '--- ', 'audio: {enabled: yes, rate: 16_000}', '...');
  return mark + lines.join(newline) + newline;
}

describe('editYaml on a long file', () => {
  it.each([
    ['LF', '\n', ''],
    ['CRLF', '\r\n', ''],
    ['byte order mark', '\n', '\ufeff'],
    ['CRLF and byte order mark', '\r\n', '\ufeff'],
  ])('changes two lines for two keys (%s)', (_name, newline, mark) => {
    const text = longConfig(newline, mark);
    const result = edit(
      text,
      { key: 'audio_omni.model_path', value: MODEL },
      { key: 'audio_omni.max_memory_mb', value: 1200 },
    );
    const before = text.split('\n');
    const after = result.text.split('\n');
    expect(after.length).toBe(before.length);
    expect(before.length).toBeGreaterThan(500);
    const changed = before.flatMap((line, index) => (line === after[index] ? [] : [[line, after[index]]]));
    const end = newline.slice(0, -1);
    expect(changed).toEqual([
      [`    model_path: models/onnx/agi_audio_core.onnx${end}`, `    model_path: ${MODEL}${end}`],
      [`    max_memory_mb:   4400\t# límite${end}`, `    max_memory_mb:   1200\t# límite${end}`],
    ]);
    expect(result.edits.map(({ path, line, column, before }) => ({ path, line, column, before }))).toEqual([
      {
        path: 'models.audio_omni.model_path',
        line: 13,
        column: 5,
        before: 'models/onnx/agi_audio_core.onnx',
      },
      { path: 'models.audio_omni.max_memory_mb', line: 14, column: 5, before: 4400 },
    ]);
  });
});

describe('finding the key', () => {
  it('prefers the exact path to a deeper one', () => {
    const result = edit('a:\n  x: 1\nb:\n  a:\n    x: 2\n', { key: 'a.x', value: 9 });
    expect(result.text).toBe('a:\n  x: 9\nb:\n  a:\n    x: 2\n');
  });

  it('finds a key inside lists and dotted names', () => {
    expect(edit('- name: a\n  path: b\n', { key: '0.path', value: 'c' }).text).toBe('- name: a\n  path: c\n');
    expect(edit('v1.2:\n  x: 1\n', { key: 'v1\\.2.x', value: 2 }).text).toBe('v1.2:\n  x: 2\n');
  });

  it('refuses two candidates and names both lines', () => {
    const text = 'prod:\n  audio:\n    path: a\ntest:\n  audio:\n    path: b\n';
    expect(() => edit(text, { key: 'audio.path', value: 'c' })).toThrow(
      "'audio.path' could be 'prod.audio.path' on line 3 and 'test.audio.path' on line 6 of sarai.yaml; write the full path",
    );
  });

  it('refuses a key that is written twice, and one in two documents', () => {
    expect(() => edit('a:\n  x: 1\n  x: 2\n', { key: 'a.x', value: 3 })).toThrow(/line 2 and .* line 3 .*remove one/);
    expect(() => edit('a: 1\n---\na: 2\n', { key: 'a', value: 3 })).toThrow(/line 1 and 'a' on line 3/);
  });

  it('refuses the same key asked twice', () => {
    expect(() => edit('m:\n  a: 1\n', { key: 'a', value: 2 }, { key: 'm.a', value: 3 })).toThrow(/same key, 'm.a'/);
  });
});

describe('what is refused, with the reason', () => {
  it.each([
    ['an alias', 'b: &v 1\na: *v\n', /line 2 .*alias \*v.*shared/],
    ['an anchored value', 'a: &v 1\nb: *v\n', /anchor &v/],
    ['an anchored empty value', 'a: &v\nb: *v\n', /anchor &v/],
    ['a tag', 'a: !env HOME\n', /tag !env/],
    ['a mapping', 'a:\n  b: 1\n', /holds a mapping/],
    ['a list', 'a: [1]\n', /holds a list/],
    ['a block of text', 'a: |\n  text\n', /block of text/],
    ['invalid YAML', 'a: [1\nb: 2\n', /sarai\.yaml:\d:\d is not valid YAML/],
  ])('%s', (_name, text, reason) => {
    expect(() => edit(text, { key: 'a', value: 2 })).toThrow(reason);
  });

  it('a key in a mapping that an alias shares', () => {
    const text = 'base: &base\n  path: x\nother:\n  <<: *base\n';
    expect(() => edit(text, { key: 'base.path', value: 'w' })).toThrow(/anchored as &base.*reach both/);
  });

  it('but not one whose anchor nobody uses', () => {
    expect(edit('base: &base\n  path: x\n', { key: 'base.path', value: 'w' }).text).toBe('base: &base\n  path: w\n');
  });

  it('UTF-16 and Latin-1', () => {
    expect(() => editYaml(Buffer.from('\ufeffa: 1\n', 'utf16le'), [{ key: 'a', value: 2 }])).toThrow(/UTF-16/);
    expect(() => editYaml(Buffer.from('a: \xf1\n', 'latin1'), [{ key: 'a', value: 2 }])).toThrow(/not UTF-8/);
  });
});

describe('how values are written', () => {
  it.each([
    ["a: 'x' # c\n", 'y', "a: 'y' # c\n"],
    ['a: "x"\n', 'it\'s "y"\\', 'a: "it\'s \\"y\\"\\\\"\n'],
    ["a: 'x'\n", "it's", "a: 'it''s'\n"],
    ['a: x\n', 'yes', "a: 'yes'\n"],
    ['a: x\n', 'null', "a: 'null'\n"],
    ['a: x\n', '12:30', "a: '12:30'\n"],
    ['a: x\n', '1_000', "a: '1_000'\n"],
    ['a: x\n', 'a: b', "a: 'a: b'\n"],
    ['a: x\n', 'a #b', "a: 'a #b'\n"],
    ['a: x\n', 'one\ntwo', 'a: "one\\ntwo"\n'],
    ['{a: x}\n', 'b, c', "{a: 'b, c'}\n"],
    ['a: x\n', 'b, c', 'a: b, c\n'],
    ['a: x\n', 'C:\\models\\ñ.onnx', 'a: C:\\models\\ñ.onnx\n'],
    ['a: "4400"\n', 1200, 'a: "1200"\n'],
    ['a: 4400\n', 1200, 'a: 1200\n'],
    ['a: "x"\n', null, 'a: null\n'],
    ['a:\n', 'x', 'a: x\n'],
    ['a:   # later\nb: 1\n', 5, 'a: 5   # later\nb: 1\n'],
    ['{a: , b: 1}\n', 5, '{a: 5 , b: 1}\n'],
    ['{a, b: 1}\n', 5, '{a: 5, b: 1}\n'],
    ['a: one\n  two # c\nb: 1\n', 'three', 'a: three # c\nb: 1\n'],
    ['? a\n: x\n', 'w', '? a\n: w\n'],
    ['a: x', 'w', 'a: w'],
  ])('%j set to %j', (text, value, expected) => {
    expect(edit(text, { key: 'a', value }).text).toBe(expected);
  });

  it('leaves the bytes alone where the value is there already', () => {
    for (const text of ['a: 0x10\n', "a: '16'\n", 'a: 16.0\n']) {
      const result = edit(text, { key: 'a', value: 16 });
      expect(result.text).toBe(text);
      expect(result.changed).toBe(false);
      expect(result.edits[0]?.kind).toBe('unchanged');
    }
  });
});

describe('missing keys', () => {
  it.each([
    ['after its siblings', 'm:\n    a: 1 # c\n\nn: 2\n', 'm:\n    a: 1 # c\n    k: v\n\nn: 2\n'],
    ['at the end without a newline', 'm:\n  a: 1', 'm:\n  a: 1\n  k: v'],
    ['with CRLF', 'm:\r\n  a: 1\r\nn: 2\r\n', 'm:\r\n  a: 1\r\n  k: v\r\nn: 2\r\n'],
    ['in the quotes of its siblings', 'm:\n  "a": "1"\n', 'm:\n  "a": "1"\n  "k": "v"\n'],
    ['behind a nested mapping', 'm:\n  a:\n    b:\n      - 1\n# c\n', 'm:\n  a:\n    b:\n      - 1\n  k: v\n# c\n'],
    ['behind a block of text', 'm:\n  a: |+\n    x\n\nn: 1\n', 'm:\n  a: |+\n    x\n\n  k: v\nn: 1\n'],
    ['behind an empty value', 'm:\n  a:  # c\nn: 1\n', 'm:\n  a:  # c\n  k: v\nn: 1\n'],
    ['in a flow mapping', 'm: {a: 1, b: [2]} # c\n', 'm: {a: 1, b: [2], k: v} # c\n'],
    ['in an empty flow mapping', 'm: {}\n', 'm: {k: v}\n'],
    ['in a flow mapping of several lines', 'm: {\n  a: 1,\n  b: 2,\n}\n', 'm: {\n  a: 1,\n  b: 2,\n  k: v,\n}\n'],
    ['inside a list', 's:\n  - m:\n      a: 1\n  - b\n', 's:\n  - m:\n      a: 1\n      k: v\n  - b\n'],
  ])('%s', (_name, text, expected) => {
    const result = edit(text, { key: 'm.k', value: 'v' });
    expect(result.text).toBe(expected);
    expect(result.edits[0]).toMatchObject({ kind: 'inserted', before: undefined, after: 'v' });
    expect(edit(expected, { key: 'm.k', value: undefined }).text).toBe(text);
  });

  it('stands beside its siblings wherever the section is', () => {
    const result = edit('models:\n  m:\n    a: 1\nz: 0\n', { key: 'm.k', value: 2 }, { key: 'top', value: 3 });
    expect(result.text).toBe('models:\n  m:\n    a: 1\n    k: 2\nz: 0\ntop: 3\n');
    expect(result.edits.map(({ path, line, column }) => [path, line, column])).toEqual([
      ['models.m.k', 4, 5],
      ['top', 6, 1],
    ]);
  });

  it('keeps the asked order of several', () => {
    const result = edit('m:\n  a:\n', { key: 'm.w', value: 1 }, { key: 'm.a', value: 2 }, { key: 'm.x', value: 3 });
    expect(result.text).toBe('m:\n  a: 2\n  w: 1\n  x: 3\n');
  });

  it('are refused where their section is missing or no mapping', () => {
    expect(() => edit('a: 1\n', { key: 'm.k', value: 1 })).toThrow(/no 'm' for 'm.k'/);
    expect(() => edit('m: 1\n', { key: 'm.k', value: 1 })).toThrow(/'m' on line 1 .* holds no mapping/);
    expect(() => edit('', { key: 'k', value: 1 })).toThrow(/no mapping/);
    expect(() => edit('a: 1\n---\nb: 1\n', { key: 'k', value: 1 })).toThrow(/2 documents/);
  });
});

describe('trailing comments', () => {
  const text = 'm:\n  path: big.onnx  # 4.3GB FP32, medido en agi1\n  mb: 4400 # antes 4400\n';
  const edits: KeyEdit[] = [
    { key: 'm.path', value: 'small.onnx', facts: { sizeBytes: 1.1e9, precision: 'INT8' } },
    { key: 'm.mb', value: 1200, facts: { sizeBytes: 1.2e9 } },
  ];

  it('that name the old value are reported and kept', () => {
    const result = editYaml(Buffer.from(text), edits);
    expect(result.bytes.toString()).toBe(
      'm:\n  path: small.onnx  # 4.3GB FP32, medido en agi1\n  mb: 1200 # antes 4400\n',
    );
    expect(result.edits[0]?.staleComment).toEqual({
      text: '# 4.3GB FP32, medido en agi1',
      replacement: '# 1.1GB INT8, medido en agi1',
      line: 2,
      replaced: false,
    });
  });

  it('are replaced when asked, word by word', () => {
    const result = editYaml(Buffer.from(text), edits, { updateComment: true });
    expect(result.bytes.toString()).toBe(
      'm:\n  path: small.onnx  # 1.1GB INT8, medido en agi1\n  mb: 1200 # antes 1200\n',
    );
    expect(result.edits.map((applied) => applied.staleComment?.replaced)).toEqual([true, true]);
  });

  it('keep the decimal comma, and stay where a word would have to be guessed', () => {
    const comma = editYaml(Buffer.from('a: x # 4,3 GB\n'), [{ key: 'a', value: 'w', facts: { sizeBytes: 1.1e9 } }], {
      updateComment: true,
    });
    expect(comma.bytes.toString()).toBe('a: w # 1,1 GB\n');
    const unknown = editYaml(Buffer.from('a: x # 4.3GB FP32\n'), [{ key: 'a', value: 'w' }], { updateComment: true });
    expect(unknown.bytes.toString()).toBe('a: w # 4.3GB FP32\n');
    expect(unknown.edits[0]?.staleComment).toMatchObject({ text: '# 4.3GB FP32', replaced: false });
  });

  it.each([
    ['# 4.3GB', 720_000, '# 0.7MB'],
    ['# 4.3GB', 1_321_000, '# 1.3MB'],
    ['# 4,3 GiB', 52_428_800, '# 50,0 MiB'],
    ['# 4.3GB', 110_000_000, '# 0.1GB'],
    ['# 900 kb', 50, '# 0.05 kb'],
  ])('name a size in a unit that is easy to read: %s, %i bytes', (old, sizeBytes, expected) => {
    const edits = [{ key: 'a', value: 'w', facts: { sizeBytes } }];
    const { bytes } = editYaml(Buffer.from(`a: x ${old}\n`), edits, { updateComment: true });
    expect(bytes.toString()).toBe(`a: w ${expected}\n`);
  });

  it('that say nothing of the value are not mentioned', () => {
    const result = edit('a: 5 # ver docs (v5.1)\n', { key: 'a', value: 6 });
    expect(result.edits[0]?.staleComment).toBeUndefined();
    expect(edit('a: x # 1.1GB INT8\n', { key: 'a', value: 'x' }).edits[0]?.staleComment).toBeUndefined();
  });
});

describe('readKey', () => {
  it('reads through an alias and says where', () => {
    expect(readKey(Buffer.from('b: &v 7\nm:\n  a: *v\n'), 'm.a')).toEqual({
      path: 'm.a',
      value: 7,
      line: 3,
      column: 3,
    });
    expect(readKey(Buffer.from('b: 1\n'), 'm.a')).toBeUndefined();
  });
});
