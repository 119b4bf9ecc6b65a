import { isFloating, type ValueInfo } from '../runtime/index.ts';
import { type Site, type SizeFacts, siteKey } from './facts.ts';
import { isStateName } from './states.ts';

/** What an open size most likely counts. It decides which sizes are tried. */
export type Role = 'batch' | 'side' | 'channels' | 'sequence' | 'frames' | 'audio' | 'past' | 'features';

/** An open size: all axes that share a symbol, or one axis without one. */
export interface OpenSize {
  /** As the option `dims` names it: the symbol, or `input.axis` where there is none. */
  name: string;
  sites: Site[];
  role: Role;
  /** Whether this is the height or the width of an image. */
  side?: 0 | 1;
  /** Sizes in the order they are tried. */
  choices: number[];
}

/** One set of sizes to try: the size of every open one, by its name. */
export type SizeSet = ReadonlyMap<string, number>;

export interface SizeGround {
  inputs: readonly ValueInfo[];
  facts: SizeFacts;
  /** `metadata_props` of the model. */
  metadata: ReadonlyMap<string, string>;
  /** Sizes that the user gave, by input and axis. */
  given(site: Site): number | undefined;
  /** Whether the model keeps a state from one inference to the next. */
  states: boolean;
  /** Hz of sound. */
  sampleRate: number;
}

/** In the order they are tried: the usual one first, then those that published models of the kind insist on. */
const CHOICES: Record<Role, readonly number[]> = {
  batch: [1],
  channels: [3, 1, 4],
  side: [],
  sequence: [128, 64, 77, 32, 16, 512, 256, 8, 4, 2, 1],
  frames: [128, 100, 3000, 76, 98, 200, 400, 16, 1],
  audio: [],
  past: [16, 1],
  features: [80, 64, 128, 40, 96, 32, 16, 768, 512, 256, 3, 1],
};
/** Heights and widths: squares, and the lines that readers of text take. */
const SIDES: readonly (readonly [number, number])[] = [
  [320, 320],
  [640, 640],
  [48, 320],
  [32, 320],
  [224, 224],
  [64, 256],
  [256, 256],
  [512, 512],
  [416, 416],
  [384, 384],
  [128, 128],
  [64, 64],
  [1024, 1024],
];
/** Samples that voice models take at a time, where a second is too much. */
const AUDIO_WINDOWS = [512, 576, 1536, 1280, 480, 400, 4096, 48_000, 80_000, 1024, 256, 160];
/** Sets that are tried in all. */
const MAX_SETS = 40;

/** The open sizes of a model with what each most likely is, in the order of its inputs. */
export function openSizes(ground: SizeGround): OpenSize[] {
  const found = new Map<string, { sites: Site[]; symbol: string }>();
  for (const { name: input, dims } of ground.inputs) {
    for (const [axis, size] of dims.entries()) {
      if (typeof size === 'number' || ground.given({ input, axis }) !== undefined) continue;
      const name = isPlain(size) ? size : `${input}.${axis}`;
      const group = found.get(size === '' ? name : size) ?? { sites: [], symbol: size };
      group.sites.push({ input, axis });
      found.set(size === '' ? name : size, group);
    }
  }
  return [...found.values()].map(({ sites, symbol }) => {
    const [first] = sites;
    const name = isPlain(symbol) ? symbol : siteKey(first!);
    return { name, sites, ...roleOf(symbol, sites, ground) };
  });
}

/**
 * Plausible sets of sizes, the likeliest first: what the graph and the metadata say, then for one kind of size after the
 * other what else is usual.
 */
export function sizeSets(open: readonly OpenSize[], inputs: readonly ValueInfo[]): SizeSet[] {
  const sets: SizeSet[] = [];
  const seen = new Set<string>();
  const add = (pick: (size: OpenSize) => number) => {
    const set = new Map(open.map((size) => [size.name, pick(size)]));
    resolveSums(set, open, inputs);
    const key = [...set].join();
    if (!seen.has(key) && sets.length < MAX_SETS) sets.push(set);
    seen.add(key);
  };
  const at = ({ choices }: OpenSize, index: number) => choices[Math.min(index, choices.length - 1)]!;
  add((size) => at(size, 0));
  const roles = [...new Set(open.map(({ role }) => role))];
  const longest = Math.max(0, ...open.map(({ choices }) => choices.length));
  for (let index = 1; index < longest; index++) {
    for (const role of roles) add((size) => at(size, size.role === role ? index : 0));
    if (roles.length > 1) add((size) => at(size, index));
  }
  return sets;
}

/** A symbol that can stand in `dims` as it is. */
const isPlain = (symbol: string): boolean => symbol !== '' && !/[,\n=]/.test(symbol) && !isSum(symbol);
const isSum = (symbol: string): boolean => /^[\w.]+( ?\+ ?[\w.]+)+$/.test(symbol);

/** `past_sequence_length + sequence_length`: what exporters write where one size is the sum of others. */
function resolveSums(set: Map<string, number>, open: readonly OpenSize[], inputs: readonly ValueInfo[]): void {
  const symbolOf = ({ input, axis }: Site) => inputs.find(({ name }) => name === input)?.dims[axis];
  const bySymbol = new Map(open.map(({ name, sites }) => [symbolOf(sites[0]!), set.get(name)!]));
  const past = open.find(({ role }) => role === 'past');
  for (const { name, sites } of open) {
    const symbol = String(symbolOf(sites[0]!));
    const terms = isSum(symbol)
      ? symbol.split('+').map((term) => Number(term) || bySymbol.get(term.trim()))
      : undefined;
    // Some write `total_sequence_length` and mean the same.
    const total = /^total_?seq/i.test(symbol) && past ? [set.get(past.name), sequenceOf(open, set)] : undefined;
    const parts = terms ?? total;
    if (parts?.every((part) => part !== undefined)) set.set(name, parts.reduce((sum, part) => sum! + part!, 0)!);
  }
}

const sequenceOf = (open: readonly OpenSize[], set: SizeSet): number | undefined => {
  const found = open.find(
    ({ role, sites }) => role === 'sequence' && sites.some(({ input }) => /ids?$|tokens?$/i.test(input)),
  );
  return found && set.get(found.name);
};

function roleOf(
  symbol: string,
  sites: readonly Site[],
  ground: SizeGround,
): Pick<OpenSize, 'role' | 'choices' | 'side'> {
  const said = sites.map((site) => ground.facts.fixed.get(siteKey(site))).find((size) => size !== undefined);
  const guesses = sites.map((site) => roleOfSite(symbol, site, ground));
  // The most telling of the places where a symbol stands: a mask is a sequence because its tokens are.
  const guess = ROLE_ORDER.flatMap((role) => guesses.find((each) => each.role === role) ?? [])[0]!;
  const choices = choicesOf(guess.role, guess.side, sites, ground);
  return { ...guess, choices: said === undefined ? choices : [said, ...choices] };
}

const ROLE_ORDER: readonly Role[] = ['batch', 'past', 'side', 'channels', 'audio', 'frames', 'features', 'sequence'];

function choicesOf(role: Role, side: 0 | 1 | undefined, sites: readonly Site[], ground: SizeGround): number[] {
  // A model that keeps a state hears sound in windows, another one all of it.
  if (role === 'audio') {
    return ground.states ? [...AUDIO_WINDOWS, ground.sampleRate] : [ground.sampleRate, ...AUDIO_WINDOWS];
  }
  if (role !== 'side') return [...CHOICES[role]];
  const strides = sites.map((site) => ground.facts.factors.get(siteKey(site)) ?? 1);
  const multiple = strides.concat(wholeNumbers(ground.metadata.get('stride'))).reduce(leastCommonMultiple, 1);
  const trained = wholeNumbers(ground.metadata.get('imgsz') ?? ground.metadata.get('image_size'));
  const first = trained.at(side ?? 0) ?? trained[0];
  const usual = SIDES.map((pair) => pair[side ?? 0]);
  // No duplicates are dropped: height and width go through the list side by side.
  return (first === undefined ? usual : [first, ...usual]).map((size) => Math.ceil(size / multiple) * multiple);
}

function roleOfSite(symbol: string, { input: name, axis }: Site, { inputs }: SizeGround): { role: Role; side?: 0 | 1 } {
  const input = inputs.find((each) => each.name === name)!;
  const { dims } = input;
  const rank = dims.length;
  const floating = input.dtype !== 'other' && isFloating(input.dtype);
  if (/past/i.test(symbol) && !isSum(symbol)) return { role: 'past' };
  if (/batch|^(b|bs|bsz)$/i.test(symbol) && !/seq|len/i.test(symbol)) return { role: 'batch' };
  if (/height/i.test(symbol) && rank >= 3) return { role: 'side', side: 0 };
  if (/width/i.test(symbol) && rank >= 3) return { role: 'side', side: 1 };
  const counted = /seq|len|time|frame|token|step|sample/i.test(symbol);
  if (/audio|wave|pcm|speech|sound|signal/i.test(name) && floating && axis === rank - 1 && rank <= 3)
    return { role: 'audio' };
  if (axis === 0 && !counted) {
    const image = rank === 3 && isImage(dims, 0);
    return image ? image[axis]! : { role: 'batch' };
  }
  if (isStateName(name) && floating) return stateRole(dims, axis);
  if (rank === 4 || (rank === 3 && isImage(dims, 0))) {
    const roles = isImage(dims, rank - 3);
    if (roles?.[axis]) return roles[axis];
  }
  if (!floating) return { role: 'sequence' };
  if (/mask|token|embed/i.test(name)) return { role: 'sequence' };
  if (rank === 3)
    return axis === rank - 1 && typeof dims[axis - 1] !== 'number' ? { role: 'features' } : { role: 'frames' };
  if (rank <= 2) return axis === 0 && rank === 2 ? { role: 'frames' } : { role: 'audio' };
  return { role: 'sequence' };
}

/** Layers (or directions) first, then the batch, the width of the state last; a batch first where the next is a number. */
function stateRole(dims: readonly (number | string)[], axis: number): { role: Role } {
  if (axis === dims.length - 1) return { role: 'features' };
  return { role: axis === 0 || typeof dims[axis] === 'string' ? 'batch' : 'features' };
}

/** What the axes of an image are, channels before or behind the sides; undefined where it is no image. */
function isImage(
  dims: readonly (number | string)[],
  start: number,
): Record<number, { role: Role; side?: 0 | 1 }> | undefined {
  const [a, b, c] = dims.slice(start);
  const isChannels = (size: number | string | undefined) => size === 1 || size === 3 || size === 4;
  const open = (...sizes: unknown[]) => sizes.every((size) => typeof size === 'string');
  const height = { role: 'side', side: 0 } as const;
  const width = { role: 'side', side: 1 } as const;
  const channels = { role: 'channels' } as const;
  // Without a batch only what looks like nothing else is an image.
  if (start === 0 && !(isChannels(a) && open(b, c)) && !(isChannels(c) && open(a, b))) return undefined;
  if (isChannels(c) && !isChannels(a)) return { [start]: height, [start + 1]: width, [start + 2]: channels };
  if (a === undefined || b === undefined) return undefined;
  return { [start]: channels, [start + 1]: height, [start + 2]: width };
}

const wholeNumbers = (text: string | undefined): number[] =>
  (text?.match(/\d+/g) ?? []).map(Number).filter((size) => size > 0 && size <= 8192);

function leastCommonMultiple(a: number, b: number): number {
  const divisor = (x: number, y: number): number => (y === 0 ? x : divisor(y, x % y));
  return (a / divisor(a, b)) * b;
}
