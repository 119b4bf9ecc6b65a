import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { editYaml, type YamlScalar } from '../../src/config/index.ts';

/** A piece of a generated file: text that must never change, or the value of a key that an edit may name. */
type Piece = string | { path: string[]; value: string };

interface Generated {
  pieces: Piece[];
  /** Paths of block or flow mappings that can take a new key. */
  mappings: string[][];
  /** Path of every key, joined: one that stands in two documents cannot be named. */
  keys: string[];
}

const RUNS = 2000;
const newline = fc.constantFrom('\n', '\r\n');
const spaces = fc.constantFrom(' ', '  ', '    ');
const comment = fc.constantFrom('', '', '', ' # nota', '\t# tab\taquí: [x', '  #  "4.3GB": {FP32}', ' #');
const filler = fc.constantFrom('', '', '', '\n', '# suelto\n', '  # sangrado: no, es comentario\n', '\n\n#\tfin\n');
const name = fc.constantFrom('a', 'b', 'c', 'model_path', 'max_memory_mb', 'año', 'x.y', '12', 'true', 'k k');
const quoted = fc.constantFrom('plain', 'single', 'double');
const scalarText = fc.constantFrom(
  'x',
  'models/a b.onnx',
  '4400',
  '0x1F',
  '1.50',
  '~',
  'yes',
  "'it''s # no'",
  '"\\u00f1 \\" # no"',
  "''",
  '2024-01-01',
  'http://h:80/p?q=1',
);
const opaque = fc.constantFrom('[1, {z: 2}, "]"]', '!env HOME', '&anchor 7', '>-\n', '{}', '[]');

const value: fc.Arbitrary<YamlScalar> = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom(
    'null',
    'no',
    ' x',
    'x ',
    '- x',
    '#x',
    'a: b',
    "it's",
    '"',
    '1e3',
    '0o7',
    '',
    '<<',
    '=',
    '12:30',
    '\u0085',
  ),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.boolean(),
  fc.constant(null),
);

interface Shape {
  key: string;
  keyStyle: string;
  gap: string;
  comment: string;
  filler: string;
  kind: 'scalar' | 'opaque' | 'map' | 'flow' | 'list' | 'empty';
  scalar: string;
  opaque: string;
  children: Shape[];
}

const shapes: fc.Arbitrary<Shape[]> = fc.letrec<{ shapes: Shape[]; shape: Shape }>((tie) => ({
  shapes: fc.uniqueArray(tie('shape'), {
    minLength: 1,
    maxLength: 5,
    selector: ({ key }) => key,
    depthIdentifier: 'y',
  }),
  shape: fc.record({
    key: name,
    keyStyle: quoted,
    gap: spaces,
    comment,
    filler,
    kind: fc.constantFrom('scalar', 'scalar', 'scalar', 'opaque', 'map', 'flow', 'list', 'empty'),
    scalar: scalarText,
    opaque,
    children: fc.oneof({ maxDepth: 3, depthIdentifier: 'y' }, fc.constant<Shape[]>([]), tie('shapes')),
  }),
})).shapes;

describe('random YAML documents, random edits', () => {
  it(`changes only the named keys (${RUNS} cases)`, () => {
    let edited = 0;
    fc.assert(
      fc.property(
        fc.array(shapes, { minLength: 1, maxLength: 3 }),
        newline,
        fc.boolean(),
        fc.array(fc.tuple(fc.nat(), value), { minLength: 1, maxLength: 3 }),
        (documents, eol, mark, wishes) => {
          const file = generate(documents, eol, mark);
          const text = textOf(file.pieces);
          const leaves = file.pieces.flatMap((piece) => (typeof piece === 'string' ? [] : [piece]));
          const unique = leaves.filter(({ path }) => file.keys.filter((key) => key === path.join('\0')).length === 1);
          fc.pre(unique.length > 0);
          const picked = new Map(wishes.map(([pick, wish]) => [unique[pick % unique.length]!, wish]));

          // One at a time: everything before and after the value's own text is what it was.
          const pieces = [...file.pieces];
          for (const [leaf, wish] of picked) {
            const index = pieces.indexOf(leaf);
            const before = textOf(pieces.slice(0, index));
            const after = textOf(pieces.slice(index + 1));
            const result = editYaml(Buffer.from(textOf(pieces)), [{ key: dotted(leaf.path), value: wish }]);
            const out = result.bytes.toString();
            expect(out.startsWith(before) && out.endsWith(after)).toBe(true);
            const written = out.slice(before.length, out.length - after.length);
            if (result.changed)
              expect(Object.is(normal(parsed(out, leaf.path)), normal(expected(leaf, wish)))).toBe(true);
            else expect(written).toBe(leaf.value);
            pieces[index] = { ...leaf, value: written };
          }
          // All at once is the same.
          const all = [...picked].map(([leaf, wish]) => ({ key: dotted(leaf.path), value: wish }));
          expect(editYaml(Buffer.from(text), all).bytes.toString()).toBe(textOf(pieces));
          edited++;
        },
      ),
      { numRuns: RUNS },
    );
    expect(edited).toBeGreaterThanOrEqual(RUNS);
  });

  it('takes out again what it put in, byte for byte', () => {
    fc.assert(
      fc.property(shapes, newline, fc.boolean(), value, fc.nat(), (document, eol, mark, wish, pick) => {
        const file = generate([document], eol, mark);
        const text = textOf(file.pieces);
        const parent = file.mappings[pick % file.mappings.length]!;
        const key = dotted([...parent, 'nuevo']);
        const put = editYaml(Buffer.from(text), [{ key, value: wish }]);
        expect(put.edits[0]?.kind).toBe('inserted');
        const lines = put.bytes.toString().split('\n').length - text.split('\n').length;
        expect(lines === 0 || lines === 1).toBe(true);
        expect(editYaml(put.bytes, [{ key, value: undefined }]).bytes.toString()).toBe(text);
      }),
      { numRuns: 500 },
    );
  });
});

function textOf(pieces: Piece[]): string {
  return pieces.map((piece) => (typeof piece === 'string' ? piece : piece.value)).join('');
}

function dotted(path: string[]): string {
  return path.map((segment) => segment.replaceAll('.', '\\.')).join('.');
}

/** A key of a quoted value keeps its quotes, so a number or boolean comes back as text. */
function expected(leaf: { value: string }, wish: YamlScalar): YamlScalar {
  return /^['"]/.test(leaf.value) && wish !== null ? String(wish) : wish;
}

function normal(value: unknown): unknown {
  return Object.is(value, -0) ? 0 : value;
}

function parsed(text: string, path: string[]): unknown {
  for (const document of parseAllDocuments(text, { logLevel: 'silent', uniqueKeys: false })) {
    let node: unknown = document.toJS({ mapAsMap: true });
    for (const segment of path) {
      if (node instanceof Map) node = [...node].find(([key]) => String(key) === segment)?.[1] ?? undefined;
      else node = Array.isArray(node) ? node[Number(segment)] : undefined;
      if (node === undefined) break;
    }
    if (node !== undefined) return node;
  }
  return null;
}

/** Writes shapes as YAML, remembering where each editable value's text lies. */
function generate(documents: Shape[][], eol: string, mark: boolean): Generated {
  const pieces: Piece[] = [mark ? '\ufeff' : ''];
  const mappings: string[][] = [];
  const keys: string[] = [];
  let anchors = 0;
  const lined = (text: string) => text.replaceAll('\n', eol);
  const keyText = ({ key, keyStyle }: Shape) =>
    keyStyle === 'single' ? `'${key}'` : keyStyle === 'double' ? `"${key}"` : key;

  const flow = (shape: Shape, path: string[]): void => {
    pieces.push('{');
    shape.children.forEach((child, index) => {
      keys.push([...path, child.key].join('\0'));
      pieces.push(`${index > 0 ? ',' : ''}${child.gap}${keyText(child)}: `, {
        path: [...path, child.key],
        value: child.scalar,
      });
    });
    pieces.push(`${shape.gap}}`);
  };

  const block = (children: Shape[], path: string[], indent: number): void => {
    mappings.push(path);
    for (const child of children) {
      const here = [...path, child.key];
      keys.push(here.join('\0'));
      pieces.push(lined(`${child.filler}${' '.repeat(indent)}${keyText(child)}:`));
      const nested = child.children.length > 0;
      if (child.kind === 'map' && nested) {
        pieces.push(lined(`${child.comment}\n`));
        block(child.children, here, indent + child.gap.length);
      } else if (child.kind === 'flow' && nested) {
        mappings.push(here);
        pieces.push(child.gap);
        flow(child, here);
        pieces.push(lined(`${child.comment}\n`));
      } else if (child.kind === 'list' && nested) {
        pieces.push(lined(`${child.comment}\n`));
        child.children.forEach((item, index) => {
          keys.push([...here, String(index), item.key].join('\0'));
          pieces.push(' '.repeat(indent), `- ${keyText(item)}: `, {
            path: [...here, String(index), item.key],
            value: item.scalar,
          });
          pieces.push(lined(`${item.comment}\n`));
        });
      } else if (child.kind === 'opaque') {
        const text = child.opaque === '>-\n' ? `>-\n${' '.repeat(indent + 2)}plegado  # no\n` : child.opaque;
        const unique = text.replace('&anchor', `&anchor${anchors++}`);
        pieces.push(lined(`${child.gap}${unique}${unique.endsWith('\n') ? '' : `${child.comment}\n`}`));
      } else if (child.kind === 'empty') {
        pieces.push({ path: here, value: '' }, lined(`${child.comment}\n`));
      } else {
        pieces.push(child.gap, { path: here, value: child.scalar }, lined(`${child.comment}\n`));
      }
    }
  };

  documents.forEach((shapes, index) => {
    if (index > 0) pieces.push(lined('---\n'));
    block(shapes, [], 0);
  });
  return { pieces, mappings, keys };
}
