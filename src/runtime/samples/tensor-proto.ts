import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { InputError } from '../../errors.ts';
import { readRegularFile } from '../../read-file.ts';
import { bytesOf, encode, isNumeric, ONNX_DTYPES } from '../dtype.ts';
import type { Feeds, Tensor, ValueInfo } from '../types.ts';
import { MAX_SAMPLE_BYTES } from './arrays.ts';

/**
 * One ONNX test data set: `input_0.pb`, `input_1.pb`, … in the order of the model's inputs. A tensor that carries the
 * name of an input goes there instead.
 * A model without inputs has a set without any.
 * @throws InputError when a file is no TensorProto or there are more files than inputs
 */
export async function readTestDataSet(folder: string, inputs: readonly ValueInfo[]): Promise<Feeds> {
  const files = (await readdir(folder)).filter((name) => /^input_\d+\.pb$/.test(name));
  if (files.length === 0 && inputs.length > 0) throw new InputError(`samples: ${folder} holds no input_0.pb.`);
  const feeds: Feeds = {};
  for (const file of files) {
    const index = Number(/\d+/.exec(file)?.[0]);
    const { name, tensor } = parseTensorProto(await readTensorFile(path.join(folder, file)), path.join(folder, file));
    const input = inputs.find((candidate) => candidate.name === name)?.name ?? inputs[index]?.name;
    if (input === undefined) {
      throw new InputError(
        `samples: ${path.join(folder, file)} is for input ${index}, but the model has ${inputs.length}.`,
      );
    }
    feeds[input] = tensor;
  }
  return feeds;
}

/** What a model should answer to a sample. */
export interface Expected {
  /** `index` is the output's place in the signature, `name` what the tensor is called, which may be nothing. */
  outputs: { file: string; index: number; name: string; tensor: Tensor }[];
  /** Files that hold nothing to compare with, and why. */
  notes: string[];
}

/** The `output_0.pb`, `output_1.pb`, … of an ONNX test data set. A sequence or text in one of them is a note. */
export async function readExpected(folder: string): Promise<Expected> {
  const names = (await readdir(folder)).filter((name) => /^output_\d+\.pb$/.test(name));
  names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const expected: Expected = { outputs: [], notes: [] };
  for (const name of names) {
    const file = path.join(folder, name);
    try {
      expected.outputs.push({
        file,
        index: Number(/\d+/.exec(name)?.[0]),
        ...parseTensorProto(await readTensorFile(file), file),
      });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      expected.notes.push(`${file} was not compared with: it holds no plain tensor of numbers.`);
    }
  }
  return expected;
}

const readTensorFile = (file: string): Promise<Buffer> => readRegularFile(file, 'samples:', MAX_SAMPLE_BYTES);

/** A number in a list takes a byte in the file and thirty here; large tensors are kept as raw bytes everywhere. */
const MAX_LISTED = 2 ** 22;
const MAX_DIMS = 32;

/** Fields of TensorProto, as onnx.proto numbers them. */
const FIELD = {
  dims: 1,
  dataType: 2,
  float: 4,
  int32: 5,
  int64: 7,
  name: 8,
  raw: 9,
  double: 10,
  uint64: 11,
  location: 14,
};

/** A serialized TensorProto with its data inside. @throws InputError */
export function parseTensorProto(bytes: Uint8Array, file: string): { name: string; tensor: Tensor } {
  const dims: number[] = [];
  const values: (number | bigint)[] = [];
  let name = '';
  let type = 0;
  let raw: Uint8Array | undefined;
  let external = false;
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, wire] = reader.tag();
      const each = <T>(read: () => T, take: (value: T) => void): void => {
        if (wire !== WireType.LengthDelimited) {
          take(read());
          return;
        }
        const end = reader.uint32() + reader.pos;
        while (reader.pos < end) take(read());
      };
      const push = (value: number | bigint | string) => {
        if (values.length === MAX_LISTED) throw new RangeError('too many numbers in lists');
        values.push(typeof value === 'string' ? BigInt(value) : value);
      };
      if (field === FIELD.dims)
        each(
          () => reader.int64(),
          (size) => {
            if (dims.length === MAX_DIMS) throw new RangeError('too many dimensions');
            dims.push(Number(size));
          },
        );
      else if (field === FIELD.dataType) type = reader.int32();
      else if (field === FIELD.float) each(() => reader.float(), push);
      else if (field === FIELD.int32) each(() => reader.int32(), push);
      else if (field === FIELD.int64) each(() => reader.int64(), push);
      else if (field === FIELD.name) name = reader.string();
      else if (field === FIELD.raw) raw = reader.bytes();
      else if (field === FIELD.double) each(() => reader.double(), push);
      else if (field === FIELD.uint64) each(() => reader.uint64(), push);
      else if (field === FIELD.location) external = reader.int32() === 1;
      else reader.skip(wire, field);
    }
  } catch (error) {
    if (error instanceof RangeError && values.length === MAX_LISTED) {
      throw new InputError(
        `samples: ${file} lists more than ${MAX_LISTED} numbers one by one; store them as raw_data.`,
      );
    }
    throw new InputError(`samples: ${file} is no ONNX tensor or is cut off.`, { cause: error });
  }
  const dtype = ONNX_DTYPES[type];
  if (!dtype || !isNumeric(dtype))
    throw new InputError(`samples: ${file} is a tensor of type ${type}, which cannot be fed.`);
  if (external) throw new InputError(`samples: ${file} keeps its data in another file, which samples cannot.`);
  return { name, tensor: { dtype, dims, data: raw ? new Uint8Array(raw) : typed(dtype, values) } };
}

/** float16 lies in int32_data as its bits; every other type as its numbers. */
function typed(dtype: Exclude<Tensor['dtype'], 'string'>, values: (number | bigint)[]): Uint8Array {
  return dtype === 'float16' ? bytesOf(Uint16Array.from(values, Number)) : encode(dtype, values);
}
