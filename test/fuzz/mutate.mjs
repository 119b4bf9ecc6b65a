// Ways to break bytes, and values of JSON that stays JSON.

/** Numbers in [0, below), the same for the same seed (splitmix32). */
export function randomOf(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return Math.floor((((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32) * below);
  };
}

const ODD_BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x22, 0x5b, 0x7b, 0x3a];

/** One to eight changes of a seed. */
export function mutate(from, seeds, random) {
  let bytes = Buffer.from(from);
  for (let left = 1 + random(8); left > 0; left--) bytes = change(bytes, seeds, random);
  return bytes;
}

function change(bytes, seeds, random) {
  const at = random(bytes.length + 1);
  const length = Math.min(1 + random(random(4) === 0 ? 4096 : 16), bytes.length - at);
  const piece = bytes.subarray(at, at + length);
  const put = (middle, skip = 0) => Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(at + skip)]);
  switch (random(8)) {
    case 0:
      return put(Buffer.from([ODD_BYTES[random(ODD_BYTES.length)]]), 1);
    case 1:
      return at < bytes.length ? put(Buffer.from([bytes[at] ^ (1 << random(8))]), 1) : bytes;
    case 2:
      return put(Buffer.alloc(0), length);
    case 3:
      return put(piece);
    case 4: {
      // Long ones now and then: what takes a parser a second is tried, and leaves time for thousands of others.
      const longest = random(64) === 0 ? 2 ** 18 : 2 ** 10;
      return put(Buffer.alloc(Math.min(piece.length * (1 + random(2000)), longest), piece.length > 0 ? piece : 1));
    }
    case 5: {
      const other = seeds[random(seeds.length)];
      const start = random(other.length);
      return put(other.subarray(start, start + 1 + random(256)), length);
    }
    case 6: {
      const number = Buffer.alloc(8);
      number.writeBigUInt64LE([0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n][random(7)]);
      return put(number.subarray(0, [2, 4, 8][random(3)]), [2, 4, 8][random(3)]);
    }
    default:
      return bytes.subarray(0, at);
  }
}

/** Stands for lists in lists without end, which cannot be cloned or written out as values. */
const DEEP = 'deep';
const DEEP_JSON = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;

const ODD_VALUES = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  -0,
  2 ** 53,
  2 ** 32,
  '',
  ' ',
  '..',
  '../x',
  '/x',
  'C:\\x',
  'NUL',
  'a\nb',
  '\u001b[2J',
  '::add-mask::x',
  '\u0000',
  '\ud800',
  '0'.repeat(64),
  'z'.repeat(64),
  'x'.repeat(100_000),
  [],
  {},
  [[]],
  [null],
  [{}],
  { constructor: 1 },
  { toString: 1, valueOf: 1 },
  JSON.parse('{"__proto__":1}'),
  '2026-13-45',
  '1970-01-01T00:00:00Z',
  'toString',
  DEEP,
  '__proto__',
];

/** JSON, or lines of it, in which one to three values are others. */
export function mutateJson(from, random) {
  const lines = from
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
  const whole = parse(from.toString('utf8'));
  const values = whole === undefined ? lines.map(parse) : [whole];
  for (let left = 1 + random(3); left > 0; left--) {
    const index = random(values.length);
    values[index] = replaceIn(values[index], random);
  }
  const text = values.map((value) => `${JSON.stringify(value) ?? 'null'}\n`).join('');
  return Buffer.from(text.replaceAll(JSON.stringify(DEEP), DEEP_JSON));
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Goes down at random, and there puts another value, takes one out or adds one. */
function replaceIn(value, random) {
  const odd = () => structuredClone(ODD_VALUES[random(ODD_VALUES.length)]);
  if (typeof value !== 'object' || value === null || random(8) === 0) return odd();
  const keys = Object.keys(value);
  if (keys.length === 0) return odd();
  const key = keys[random(keys.length)];
  const way = random(10);
  if (way === 0) {
    if (Array.isArray(value)) value.splice(Number(key), 1);
    else delete value[key];
  } else if (way === 1) {
    if (Array.isArray(value)) value.push(structuredClone(value[key]));
    else {
      const name = odd();
      value[typeof name === 'string' ? name.slice(0, 100) : JSON.stringify(name)] = value[key];
    }
  } else value[key] = replaceIn(value[key], random);
  return value;
}
