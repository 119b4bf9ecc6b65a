import { InputError } from '../../errors.ts';
import { readRegularFile } from '../../read-file.ts';
import { ELEMENT_BYTES, elementCount, encode, isNumeric } from '../dtype.ts';
import type { Feeds, Tensor, ValueInfo } from '../types.ts';
import { MAX_SAMPLE_BYTES, type Stack } from './arrays.ts';

/** A number takes three times as many bytes here as in a .npz; who has more than this should use that. */
const MAX_JSON_BYTES = 256 * 2 ** 20;
const MAX_SAMPLES = 100_000;
/** No tensor has more dimensions. */
const MAX_DEPTH = 32;

/**
 * `{"x": [[1, 2]]}` or a list of such samples. A flat list with `"dims"` works too: `{"x": {"dims": [1, 2], "data": [1, 2]}}`.
 * Numbers take the type that the model declares. Every sample is looked at once, and its numbers are kept only while
 * they are in use; more numbers than the model's input can have are refused as soon as they are met.
 * @throws InputError for broken JSON, ragged lists and things that are no numbers
 */
export async function openJson(file: string, inputs: readonly ValueInfo[]): Promise<Stack> {
  const bytes = await readRegularFile(file, 'samples:', MAX_JSON_BYTES);
  const scanner = new Scanner(bytes, file);
  const ranges: number[] = [];
  const listed = scanner.peek() === '[';
  const where = (index: number) => (listed ? `${file}[${index}]` : file);
  const look = () => {
    const start = scanner.at;
    readSample(scanner, inputs, where(ranges.length), 'look');
    ranges.push(start);
    if (ranges.length > MAX_SAMPLES) throw new InputError(`samples: ${file} has more than ${MAX_SAMPLES} samples.`);
  };
  if (listed) scanner.list(look);
  else look();
  scanner.end();
  if (ranges.length === 0) throw new InputError(`samples: ${file} is an empty list.`);
  return {
    length: ranges.length,
    async read(index) {
      return readSample(new Scanner(bytes, file, ranges[index]), inputs, where(index), 'keep');
    },
  };
}

function readSample(scanner: Scanner, inputs: readonly ValueInfo[], where: string, mode: 'look' | 'keep'): Feeds {
  if (scanner.peek() !== '{') {
    throw new InputError(`samples: ${where} is no object of input names and lists of numbers.`);
  }
  const feeds: Feeds = {};
  scanner.object((name) => {
    const input = inputs.find((candidate) => candidate.name === name);
    const tensor = readTensor(scanner, input, `${where} ${name}`, mode);
    // As an own property, whatever the name.
    Object.defineProperty(feeds, name, { value: tensor, enumerable: true, configurable: true, writable: true });
  });
  return feeds;
}

function readTensor(
  scanner: Scanner,
  input: ValueInfo | undefined,
  where: string,
  mode: 'look' | 'keep',
): Tensor | undefined {
  const dtype = input && isNumeric(input.dtype) ? input.dtype : 'float32';
  const sizes = input?.dims ?? [];
  const fixed = input !== undefined && sizes.every((size) => typeof size === 'number');
  const most = fixed ? elementCount(sizes as number[]) : MAX_SAMPLE_BYTES / ELEMENT_BYTES[dtype];
  const numbers = new Numbers(most, mode, where);
  let dims: number[] | undefined;
  let wanted: number[] | undefined;
  if (scanner.peek() === '{') {
    scanner.object((key) => {
      if (key === 'data') dims = readNested(scanner, numbers, where);
      else if (key === 'dims') {
        const list = new Numbers(MAX_DEPTH, 'keep', where);
        readNested(scanner, list, where);
        wanted = [...list.values()];
      } else throw new InputError(`samples: ${where} has "${key}" beside data and dims.`);
    });
    if (dims === undefined) throw new InputError(`samples: ${where} has no data.`);
  } else dims = readNested(scanner, numbers, where);
  if (wanted !== undefined) {
    const whole = wanted.every((size) => Number.isInteger(size) && size >= 0);
    if (!whole || elementCount(wanted) !== numbers.length) {
      throw new InputError(
        `samples: ${where} has ${numbers.length} numbers, which do not make dims ${JSON.stringify(wanted)}.`,
      );
    }
  }
  return mode === 'look' ? undefined : { dtype, dims: wanted ?? dims!, data: encode(dtype, numbers.values()) };
}

/** Appends the numbers of nested lists in order and returns their shape. */
function readNested(scanner: Scanner, numbers: Numbers, where: string): number[] {
  const shape: (number | undefined)[] = [];
  let rank: number | undefined;
  const ragged = () => new InputError(`samples: ${where} has lists of different lengths side by side.`);
  const value = (depth: number): void => {
    if (scanner.peek() === '[') {
      if (depth === MAX_DEPTH) {
        throw new InputError(`samples: ${where} is nested deeper than ${MAX_DEPTH} lists, as no tensor is.`);
      }
      if (rank !== undefined && depth >= rank) throw ragged();
      let count = 0;
      scanner.list(() => {
        count++;
        value(depth + 1);
      });
      if (count === 0) rank ??= depth + 1;
      shape[depth] ??= count;
      if (shape[depth] !== count) throw ragged();
      return;
    }
    rank ??= depth;
    if (depth !== rank) throw ragged();
    numbers.push(scanner.number(where));
  };
  value(0);
  return Array.from({ length: rank ?? 0 }, (_, axis) => shape[axis] ?? 0);
}

/** Numbers in the order they come, at most `most` of them; only counted where they are only looked at. */
class Numbers {
  length = 0;
  readonly #most: number;
  readonly #where: string;
  #kept: Float64Array | undefined;

  constructor(most: number, mode: 'look' | 'keep', where: string) {
    this.#most = most;
    this.#where = where;
    this.#kept = mode === 'keep' ? new Float64Array(Math.min(most, 1024)) : undefined;
  }

  push(value: number): void {
    if (this.length === this.#most) {
      throw new InputError(`samples: ${this.#where} has more than the ${this.#most} numbers that the model can take.`);
    }
    if (this.#kept !== undefined) {
      if (this.length === this.#kept.length) {
        const grown = new Float64Array(Math.min(this.#most, 2 * this.length));
        grown.set(this.#kept);
        this.#kept = grown;
      }
      this.#kept[this.length] = value;
    }
    this.length++;
  }

  values(): Float64Array {
    return (this.#kept ?? new Float64Array(0)).subarray(0, this.length);
  }
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** Walks JSON text (RFC 8259) without building what it says. */
class Scanner {
  at: number;
  readonly #bytes: Buffer;
  readonly #file: string;

  constructor(bytes: Buffer, file: string, at = 0) {
    this.#bytes = bytes;
    this.#file = file;
    const marked = at === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
    this.at = marked ? 3 : at;
  }

  /** The next character that is no white space; empty at the end. */
  peek(): string {
    while (this.at < this.#bytes.length && isSpace(this.#bytes[this.at]!)) this.at++;
    return this.at < this.#bytes.length ? String.fromCharCode(this.#bytes[this.at]!) : '';
  }

  list(each: () => void): void {
    this.#between('[', ']', each);
  }

  object(each: (key: string) => void): void {
    this.#between('{', '}', () => {
      const key = this.#string();
      this.#take(':');
      each(key);
    });
  }

  number(where: string): number {
    this.peek();
    const start = this.at;
    // Most are short whole numbers, and need no text.
    let whole = 0;
    while (this.at < this.#bytes.length && this.at - start < 15 && isDigit(this.#bytes[this.at]!)) {
      whole = whole * 10 + this.#bytes[this.at++]! - 0x30;
    }
    const ended = this.at === this.#bytes.length || isEnd(this.#bytes[this.at]!);
    if (this.at > start && ended && (this.#bytes[start] !== 0x30 || this.at === start + 1)) return whole;
    while (this.at < this.#bytes.length && !isEnd(this.#bytes[this.at]!)) this.at++;
    const text = this.#bytes.toString('latin1', start, Math.min(this.at, start + 64));
    if (text === 'true' || text === 'false') return text === 'true' ? 1 : 0;
    if (NUMBER.test(text)) return Number(text);
    if (text === '') throw this.#broken();
    const shown = this.#bytes.toString('utf8', start, Math.min(this.at, start + 64));
    throw new InputError(`samples: ${where} holds ${shown}, which is no number.`);
  }

  /** Nothing may follow. */
  end(): void {
    if (this.peek() !== '') throw this.#broken();
  }

  #between(open: string, close: string, each: () => void): void {
    this.#take(open);
    if (this.peek() === close) {
      this.at++;
      return;
    }
    for (;;) {
      each();
      const next = this.peek();
      if (next !== ',' && next !== close) throw this.#broken();
      this.at++;
      if (next === close) return;
    }
  }

  #string(): string {
    this.#take('"');
    const start = this.at - 1;
    for (; this.at < this.#bytes.length && this.#bytes[this.at] !== 0x22; this.at++) {
      if (this.#bytes[this.at] === 0x5c) this.at++;
    }
    this.at++;
    try {
      return JSON.parse(this.#bytes.toString('utf8', start, this.at)) as string;
    } catch {
      throw this.#broken();
    }
  }

  #take(character: string): void {
    if (this.peek() !== character) throw this.#broken();
    this.at++;
  }

  #broken(): InputError {
    return new InputError(`samples: ${this.#file} is no JSON of samples (at byte ${this.at}).`);
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** White space, comma, or a bracket of either kind. */
function isEnd(byte: number): boolean {
  return isSpace(byte) || byte === 0x2c || byte === 0x5d || byte === 0x7d || byte === 0x5b || byte === 0x7b;
}
