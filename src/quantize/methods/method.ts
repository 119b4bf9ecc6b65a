import type { InputContext } from '../../inputs/index.ts';
import type { Constant, GraphIndex, GraphScope, Model, NodeProto } from '../../model/index.ts';
import type { Log } from '../../receipt/index.ts';
import type { DecisionInputs, DecisionStore, Shared } from '../cached.ts';
import type { Encoding } from '../encodings/encoding.ts';
import type { Operator } from '../operators.ts';
import type { QuantizeOptions } from '../options.ts';
import type { Place } from '../values/place.ts';
import type { Encoded, FloatConstant } from '../values/value.ts';

/**
 * A way to quantize: which forms the nodes of a model may take, the best first, and what that takes. To add one: a
 * folder beside this file and a line in registry.ts; nothing outside `methods/` knows one by name.
 *
 * `Own` are the settings that a method makes of the options. Plain data: what is kept between runs is found by them.
 */
export interface Method<Name extends string = string, Own extends object = object, Observed = unknown> {
  readonly name: Name;
  /** Options that no other method takes, but for those that say that they share them. */
  readonly owns: readonly (keyof QuantizeOptions)[];
  /** Options of others that it takes too. */
  readonly shares?: readonly (keyof QuantizeOptions)[];
  /** Values of `bits` that it knows. Default: 8. */
  readonly bits?: readonly number[];
  /** Checks the options it cares about. @throws InputError naming the input, what was found and what to do. */
  settings(options: QuantizeOptions): Own;
  /** `int8` in `<stem>_int8.onnx`. */
  suffix(own: Own): string;
  /** What the result's metadata say of it: `dynamic int8 per-channel`. */
  describe(own: Own): string;
  /**
   * What is to be done to the graph before all else, with what the user should know of it. New weights may go to the file
   * `scratch`, which stays until the result is written.
   */
  prepare?(own: Own): ((model: Model, scratch: string) => { model: Model; notes: string[] }) | undefined;
  /** What runs before anything is planned, where the method has to see the model at work. */
  observe?(own: Own): ((model: Model, run: Run) => Promise<Observed & Remarks>) | undefined;
  /**
   * The forms that a node may take, the best first. The first that will take it does; a node that none takes stays
   * FLOAT. Forms of other methods may be among them: so `dynamic` falls back to stored weights.
   */
  forms(own: Own, known: Known<Observed>): readonly Form[];
  /** Bytes of memory that quantizing takes beyond what every method takes. */
  memory?(own: Own, model: Model): number;
}

/** What the user should know, and what they should not overlook. */
export interface Remarks {
  notes: readonly string[];
  warnings: readonly string[];
}

/** What a step that takes long may use. */
export interface Run extends InputContext {
  log: Log;
  signal?: AbortSignal | undefined;
  /** What earlier runs measured, in a host's cache and in this process. */
  decisions?: DecisionStore | undefined;
  shared?: Shared | undefined;
  /** The key of what follows from all settings and these inputs. */
  decisionKey(inputs: DecisionInputs): string;
  /** Bytes of memory that can be had. */
  availableMemory(): number;
  /** Threads of an operator; undefined: as many as there are cores. */
  threads: number | undefined;
  /** A folder that is removed once the result is written. */
  scratch: string;
  /** Why the options keep a node as it is, or undefined. */
  exclusion(site: Site): string | undefined;
}

/** What is known of a model when the forms of its nodes are made. */
export interface Known<Observed = unknown> {
  index: GraphIndex;
  /** What `observe` found; undefined where nothing was run. */
  observed: Observed | undefined;
  /** Why the options keep a node as it is (`exclude-nodes` and its like), or undefined. */
  exclusion(site: Site): string | undefined;
}

/** A node where it stands, with what is known of its operator. */
export interface Site {
  node: NodeProto;
  scope: GraphScope;
  operator: Operator | undefined;
}

/** What a node can become. */
export type Form = NodeForm | StoredForm;

interface AnyForm {
  /** As plan and receipt call it. */
  readonly name: string;
  /** The operator set that its nodes need, and the operator that came with it, for the sentence that says so. */
  readonly needs: { opset: number; operator: string };
  /** What the user should know where any node takes this form. */
  readonly note?: string;
  /** Whether it is for nodes of any operator, those without a row of facts too. */
  readonly anyOperator?: true;
  /** The constants that are a node's weights to this form. */
  weights(site: Site): Weight[];
  /** Whether a node can take it; reads no weight. */
  offer(site: Site, weights: readonly Weight[]): Offer;
}

/** Puts other nodes in a node's place. */
export interface NodeForm extends AnyForm {
  readonly kind: 'node';
  /** Emits what takes the node's place. False, with nothing emitted, only where the offer was tentative. */
  rewrite(node: NodeProto, place: Place): boolean;
}

/** Leaves the node and stores its weights in fewer bits, from which every reader gets FLOAT when the model is loaded. */
export interface StoredForm extends AnyForm {
  readonly kind: 'stored';
  encode(constant: FloatConstant, axis: Weight['axis']): Encoding;
  /** Emits what makes the FLOAT value, under the constant's name. `place` is the graph that defines the constant. */
  restore(stored: Encoded, place: Place): void;
}

export type Offer =
  /** Why not. */
  | { refusal: string }
  /** What it becomes. `unless`: only rewriting shows whether it can; until then it stays, for this reason. */
  | { becomes: string; unless?: string };

/** A constant in the role of a weight. */
export interface Weight {
  constant: Constant;
  /** Axes of its output channels; null for one scale for all of it. */
  axis: number | readonly number[] | null;
  /** Read by the node itself (or through Identity), not through Slice, Concat and their like. */
  direct: boolean;
  /** Whether it has as many axes as its place allows. */
  fits: boolean;
}
