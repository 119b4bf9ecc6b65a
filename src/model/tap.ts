import { link, realpath, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { shallowCopy } from './make.ts';
import { type GraphProto, ModelProtoSchema, type NodeProto, ValueInfoProtoSchema } from './onnx_pb.ts';
import type { Model } from './types.ts';
import { writeModel } from './write.ts';

/** The model with parts of its main graph replaced. The original stays as it is; tensors stay where they are on disk. */
export function withGraph(model: Model, changes: Partial<GraphProto>): Model {
  const proto = shallowCopy(model.proto);
  const before = model.proto.graph!;
  const graph = Object.assign(shallowCopy(before), changes);
  proto.graph = graph;
  const omitted = new Map(model.omitted);
  const carry = (from: object, to: object) => {
    const left = model.omitted.get(from);
    if (left) omitted.set(to, left);
  };
  carry(model.proto, proto);
  carry(before, graph);
  return { ...model, proto, omitted };
}

/**
 * The model with values of its main graph as further outputs, behind those it has. They have no type: a runtime infers it.
 * `nodes` are put behind all others, so that what they make of the graph's values can be tapped too.
 */
export function tapped(model: Model, values: readonly string[], nodes: readonly NodeProto[] = []): Model {
  const { node, output } = model.proto.graph!;
  const present = new Set(output.map(({ name }) => name));
  const added = [...new Set(values)].filter((name) => !present.has(name));
  return withGraph(model, {
    node: [...node, ...nodes],
    output: [...output, ...added.map((name) => create(ValueInfoProtoSchema, { name }))],
  });
}

/**
 * Writes a model for a session that ends before this run does: to `file`, without copying the weights where its folder
 * can have links to them, so that it takes the room of the graph only. Several such models may share a folder.
 */
export async function writeTemporary(model: Model, file: string): Promise<void> {
  if (await linkWeights(model, path.dirname(file))) await writeFile(file, toBinary(ModelProtoSchema, model.proto));
  else await writeModel(model, file);
}

/**
 * Makes the external data appear in `folder` without copying it. Runtimes refuse symbolic links that lead out of a
 * model's folder, so these are hard links; where none can be made (another disk), the caller copies.
 */
async function linkWeights(model: Model, folder: string): Promise<boolean> {
  if (model.externalFiles.length === 0 || model.omitted.size > 0) return false;
  const home = path.dirname(model.path);
  try {
    for (const file of model.externalFiles) {
      const name = path.relative(home, file);
      // A location in a subfolder would need that folder too: rare enough to copy.
      if (path.dirname(name) !== '.') return false;
      const real = await realpath(file);
      const made = path.join(folder, name);
      // Another model of this run may have it there already.
      if (!(await isSameFile(real, made))) await link(real, made);
    }
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code && CANNOT_LINK.has(code)) return false;
    throw error;
  }
}

/** Another disk, a file of another user, a file system without links, or something else of that name. */
const CANNOT_LINK = new Set(['EXDEV', 'EPERM', 'EACCES', 'ENOTSUP', 'EMLINK', 'EEXIST']);

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((file) => stat(file, { bigint: true }).catch(() => undefined)));
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}
