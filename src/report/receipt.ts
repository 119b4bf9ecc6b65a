/** A file that an action read or wrote, identified by its root (see `src/model/digest.ts`). */
export interface FileIdentity {
  /** Path as given, relative to the receipt's folder where the file lies in it or below. */
  path: string;
  role: 'read' | 'written';
  /** Bytes. */
  size: number;
  /** Root of the file: lower-case hex. */
  root: string;
  /** SHA-256 of each 64 MiB chunk, lower-case hex, where they came free. */
  chunks?: string[];
}

/** The machine and runtime a result was made on. */
export interface Environment {
  os: string;
  arch: string;
  cpu: string;
  cores: number;
  /** Instruction sets that change INT8 results or speed (avx2, avx512f, avx512_vnni, avx_vnni, sha_ni, asimd, …). */
  isa: string[];
  node: string;
  /** onnxruntime-node version and the execution provider used, where the action ran a model. */
  ort?: string;
  provider?: string;
}

export type Verdict = 'pass' | 'fail' | 'inconclusive';

/** The audit trail of one action: `<model stem>.<action>.json`. */
export interface Receipt<Results = Record<string, unknown>> {
  schema: 1;
  tool: { name: 'onnx-quantize-actions'; version: string };
  action: 'quantize' | 'checksum' | 'validate' | 'compare' | 'promote-config';
  /** ISO 8601, UTC. */
  createdAt: string;
  inputs: Record<string, string>;
  /** Root over all files of the model the receipt is about: what promote-config compares. */
  modelRoot: string;
  files: FileIdentity[];
  environment: Environment;
  results: Results;
  verdict: Verdict;
}
