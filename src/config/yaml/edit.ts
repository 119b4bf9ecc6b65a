import { isAlias, isMap, isScalar, isSeq, type ParsedNode } from 'yaml';
import { InputError } from '../../errors.ts';
import { type StaleComment, staleComment, type ValueFacts } from './comment.ts';
import { allKeys, findKey, findParent, joinKey, type KeySite, type MapSite, sharedAncestor, splitKey } from './keys.ts';
import { decodeYaml, parseValidYaml, parseYaml, syntaxProblems, type YamlFile } from './parse.ts';
import { isYamlScalar, type ScalarStyle, writeScalar, type YamlScalar } from './scalar.ts';

/** One key to be changed. */
export interface KeyEdit {
  /** Dotted path; also finds the one place where it stands deeper. */
  key: string;
  /** The new value; undefined removes the key. */
  value: YamlScalar | undefined;
  /** What is known of the new value, for a trailing comment that speaks of the old one. */
  facts?: ValueFacts;
  /** A trailing comment to be replaced where it still stands as `from`: a rollback has the old one. */
  comment?: { from: string; to: string };
}

export interface EditOptions {
  /** Name of the file in messages. */
  name?: string;
  /** Replace trailing comments that name the old value; otherwise they are only reported. */
  updateComment?: boolean;
}

/** What became of one key. */
export interface AppliedEdit {
  key: string;
  /** Full dotted path where it stands. */
  path: string;
  kind: 'replaced' | 'inserted' | 'removed' | 'unchanged';
  /** Undefined where the key was not there. */
  before: YamlScalar | undefined;
  /** Undefined where the key was removed. */
  after: YamlScalar | undefined;
  /** Where the key stands in the new text (in the old one if removed), from 1. */
  line: number;
  column: number;
  /** A trailing comment that named the old value. */
  staleComment?: StaleComment & { line: number; replaced: boolean };
}

export interface EditResult {
  bytes: Buffer;
  changed: boolean;
  edits: AppliedEdit[];
}

/**
 * Changes the values of keys in a YAML file and nothing else: every other byte (comments, blank lines, quotes, anchors,
 * line ends, byte order mark) stays. A missing key is inserted after its siblings, in their style. The result is parsed
 * again and must differ in exactly these keys.
 *
 * @throws InputError for a key that is ambiguous, has no mapping to stand in, or holds something other than a scalar
 * of its own (alias, anchor, tag, mapping, block scalar); the reason is named.
 */
export function editYaml(source: Uint8Array, edits: readonly KeyEdit[], options: EditOptions = {}): EditResult {
  const name = options.name ?? 'the config';
  const file = parseValidYaml(decodeYaml(source, name), name);
  const planned = edits.map((edit) => planEdit(file, edit, options.updateComment === true));
  refuseTwins(planned);

  const text = splice(
    file.text,
    planned.flatMap((plan) => plan.splices),
  );
  const reread = parseYaml(text, name);
  verify(file, reread, planned);
  return {
    bytes: Buffer.from(text, 'utf8'),
    changed: text !== file.text,
    edits: planned.map((plan) => located(reread, plan.applied, plan.site)),
  };
}

/** The value that a key has in a YAML file, or undefined where the key is absent. */
export function readKey(
  source: Uint8Array,
  key: string,
  name = 'the config',
): { path: string; value: YamlScalar; line: number; column: number } | undefined {
  const file = parseValidYaml(decodeYaml(source, name), name);
  const site = findKey(file, key);
  if (site === undefined) return undefined;
  const value = scalarOf(site);
  if (value === undefined) return undefined;
  return { path: joinKey(site.path), value, ...file.at(site.offset) };
}

/** The full dotted path where a key stands or, if it is missing, would be put. */
export function resolveKey(source: Uint8Array, key: string, name = 'the config'): string {
  const file = parseValidYaml(decodeYaml(source, name), name);
  const site = findKey(file, key);
  if (site !== undefined) return joinKey(site.path);
  const segments = splitKey(key);
  return joinKey([...(findParent(file, key)?.path ?? segments.slice(0, -1)), segments.at(-1)!]);
}

/** What exactly these full paths hold; no deeper place counts. */
export function readKeys(source: Uint8Array, keys: Iterable<string>, name = 'the config'): Map<string, YamlScalar> {
  const file = parseValidYaml(decodeYaml(source, name), name);
  const sites = new Map(allKeys(file).map((site) => [joinKey(site.path), site]));
  const held = new Map<string, YamlScalar>();
  for (const key of keys) {
    const site = sites.get(key);
    const value = site && scalarOf(site);
    if (value !== undefined) held.set(key, value);
  }
  return held;
}

/** The scalar a pair holds, through an alias if need be; undefined for collections. */
export function scalarOf(site: KeySite): YamlScalar | undefined {
  const node = isAlias(site.pair.value) ? site.pair.value.resolve(site.document) : site.pair.value;
  if (node === null || node === undefined) return null;
  if (!isScalar(node)) return undefined;
  return isYamlScalar(node.value) ? node.value : String(node.source ?? node.value);
}

interface Splice {
  start: number;
  end: number;
  text: string;
  /** Splices at the same offset: values come before inserted lines. */
  rank: 0 | 1;
}

interface PlannedEdit {
  /** Absent where there was nothing to remove. */
  site?: KeySite | MapSite;
  /** Identity of the key in `flatten`; empty where there was nothing to remove. */
  id: string;
  splices: Splice[];
  applied: AppliedEdit;
}

function planEdit(file: YamlFile, edit: KeyEdit, updateComment: boolean): PlannedEdit {
  const site = findKey(file, edit.key);
  if (site !== undefined) {
    if (edit.value === undefined) return planRemoval(file, edit, site);
    return planReplacement(file, { ...edit, value: edit.value }, site, updateComment);
  }
  if (edit.value === undefined) {
    const applied = { ...blank(edit.key, splitKey(edit.key)), before: undefined, after: undefined };
    return { id: '', splices: [], applied: { ...applied, kind: 'unchanged' } };
  }
  return planInsertion(file, { ...edit, value: edit.value });
}

function planReplacement(
  file: YamlFile,
  edit: KeyEdit & { value: YamlScalar },
  site: KeySite,
  updateComment: boolean,
): PlannedEdit {
  refuseShared(file, edit.key, site);
  const node = site.pair.value;
  const separators = separatorsOf(site);
  const { line } = file.at(site.offset);
  const where = `'${joinKey(site.path)}' on line ${line} of ${file.name}`;
  if (isAlias(node)) {
    throw new InputError(
      `${where} is the alias *${node.source}: its value stands at the anchor &${node.source} and is shared; write a value of its own there by hand, then try again.`,
    );
  }
  const anchor = separators.find((token) => token.type === 'anchor');
  if (anchor) {
    throw new InputError(
      `${where} carries the anchor ${anchor.source}, so other places may share its value; take the anchor away, then try again.`,
    );
  }
  const tag = separators.find((token) => token.type === 'tag');
  if (tag) {
    throw new InputError(
      `${where} carries the tag ${tag.source}, which says how its value is read; take the tag away, then try again.`,
    );
  }
  if (isMap(node) || isSeq(node)) {
    throw new InputError(
      `${where} holds a ${isMap(node) ? 'mapping' : 'list'}, not a single value; name a key that holds one.`,
    );
  }
  if (isScalar(node) && (node.type === 'BLOCK_LITERAL' || node.type === 'BLOCK_FOLDED')) {
    throw new InputError(`${where} is a block of text (| or >); write it on one line by hand, then try again.`);
  }

  const before = scalarOf(site) ?? null;
  const style = edit.value === null ? 'plain' : styleOf(node);
  const same = style === 'plain' ? before === edit.value : String(before) === String(edit.value);
  const applied: AppliedEdit = {
    ...blank(edit.key, site.path),
    kind: same ? 'unchanged' : 'replaced',
    before,
    after: style === 'plain' ? edit.value : String(edit.value),
  };
  const id = idOf(site.documentIndex, site.path);
  if (same) return { site, id, splices: [], applied: { ...applied, after: before } };

  const written = writeScalar(edit.value, style, isFlow(site.map));
  const splices = [valueSplice(site, written)];
  const comment = trailingComment(file.text, splices[0]!.end);
  if (comment) {
    const recorded =
      edit.comment?.from === comment.text ? { text: comment.text, replacement: edit.comment.to } : undefined;
    const stale = recorded ?? staleComment(comment.text, before, edit.value, edit.facts ?? {});
    const replaced = stale?.replacement !== undefined && (updateComment || recorded !== undefined);
    if (replaced) splices.push({ start: comment.start, end: comment.end, text: stale.replacement ?? '', rank: 0 });
    if (stale) applied.staleComment = { ...stale, line: file.at(comment.start).line, replaced };
  }
  return { site, id, splices, applied };
}

function planInsertion(file: YamlFile, edit: KeyEdit & { value: YamlScalar }): PlannedEdit {
  const site = findParent(file, edit.key) ?? missingParent(file, edit.key);
  refuseShared(file, edit.key, site);
  const segment = splitKey(edit.key).at(-1)!;
  const path = [...site.path, segment];
  const flow = isFlow(site.map);
  const pairs = site.map.items;
  const siblings = pairs.flatMap((pair) => (isScalar(pair.key) ? [pair] : []));
  const strings = siblings.flatMap(({ value }) => (isScalar(value) && typeof value.value === 'string' ? [value] : []));
  const styles = new Set(strings.map(styleOf));
  const style = typeof edit.value === 'string' && styles.size === 1 ? [...styles][0]! : 'plain';
  const keyStyle = siblings.length > 0 ? styleOf(siblings.at(-1)!.key) : 'plain';
  const line = `${writeScalar(segment, keyStyle, flow)}: ${writeScalar(edit.value, style, flow)}`;
  const applied: AppliedEdit = { ...blank(edit.key, path), kind: 'inserted', before: undefined, after: edit.value };
  const id = idOf(site.documentIndex, path);
  const last = pairs.at(-1);

  if (flow) {
    if (last === undefined) {
      const start = site.map.range[0] + 1;
      return { site, id, splices: [{ start, end: start, text: line, rank: 1 }], applied };
    }
    const start = contentEnd(last as KeySite['pair']);
    const lead = file.text.slice(0, (last.key as ParsedNode).range[0]).match(/\r?\n[ \t]*$/)?.[0] ?? ' ';
    return { site, id, splices: [{ start, end: start, text: `,${lead}${line}`, rank: 1 }], applied };
  }

  const end = last === undefined ? site.map.range[1] : contentEnd(last as KeySite['pair']);
  const indent = ' '.repeat(indentOf(file, site.map));
  const newline = newlineNear(file.text, end);
  if (end > 0 && file.text[end - 1] === '\n') {
    return { site, id, splices: [{ start: end, end, text: `${indent}${line}${newline}`, rank: 1 }], applied };
  }
  const rest = file.text.slice(end).search(/\r?\n|$/);
  const start = end + rest;
  return { site, id, splices: [{ start, end: start, text: `${newline}${indent}${line}`, rank: 1 }], applied };
}

/** Removal is what undoes an insertion: a scalar on a line of its own, or an entry of a flow mapping. */
function planRemoval(file: YamlFile, edit: KeyEdit, site: KeySite): PlannedEdit {
  refuseShared(file, edit.key, site);
  const { line } = file.at(site.offset);
  const where = `'${joinKey(site.path)}' on line ${line} of ${file.name}`;
  const before = scalarOf(site);
  const end = contentEnd(site.pair);
  const { text } = file;
  const applied: AppliedEdit = {
    ...blank(edit.key, site.path),
    kind: 'removed',
    before,
    after: undefined,
    ...file.at(site.offset),
  };
  const id = idOf(site.documentIndex, site.path);
  if (before === undefined || text.slice(site.offset, end).includes('\n')) {
    throw new InputError(`${where} is more than one line; remove it by hand.`);
  }
  if (site.map.items.length === 1 && !isFlow(site.map)) {
    throw new InputError(`${where} is the only key there, and removing it would empty its mapping; remove it by hand.`);
  }
  if (isFlow(site.map)) {
    const before = text.slice(0, site.offset).match(/,\s*$/)?.[0].length ?? 0;
    const after = before > 0 ? 0 : (text.slice(end).match(/^\s*,\s*/)?.[0].length ?? 0);
    return {
      site,
      id,
      splices: [{ start: site.offset - before, end: end + after, text: '', rank: 0 }],
      applied,
    };
  }
  const lineStart = text.lastIndexOf('\n', site.offset - 1) + 1;
  if (text.slice(lineStart, site.offset).replace('\ufeff', '').trim() !== '') {
    throw new InputError(`${where} shares its line with something else; remove it by hand.`);
  }
  const lineEnd = text.indexOf('\n', end);
  const span =
    lineEnd >= 0
      ? { start: lineStart, end: lineEnd + 1 }
      : { start: lineStart - (text.slice(0, lineStart).match(/\r?\n$/)?.[0].length ?? 0), end: text.length };
  return { site, id, splices: [{ ...span, text: '', rank: 0 }], applied };
}

function missingParent(file: YamlFile, key: string): never {
  const parents = splitKey(key).slice(0, -1);
  throw new InputError(
    parents.length > 0
      ? `${file.name} has no '${joinKey(parents)}' for '${key}' to stand in; check the key's spelling or write that section by hand once.`
      : `${file.name} holds no mapping for '${key}' to stand in; write the first key by hand.`,
  );
}

function refuseShared(file: YamlFile, key: string, site: KeySite | MapSite): void {
  const shared = sharedAncestor(site);
  if (shared === undefined) return;
  throw new InputError(
    `'${key}' (line ${file.at(site.offset).line} of ${file.name}) lies in the mapping anchored as &${shared}, which is used again as *${shared}: the change would reach both; give the place you mean a value of its own.`,
  );
}

function refuseTwins(planned: PlannedEdit[]): void {
  const seen = new Map<string, string>();
  for (const { id, applied } of planned) {
    const other = seen.get(id);
    if (id !== '' && other !== undefined) {
      throw new InputError(`'${other}' and '${applied.key}' are the same key, '${applied.path}'; give one of them.`);
    }
    seen.set(id, applied.key);
  }
}

function valueSplice(site: KeySite, written: string): Splice {
  const node = site.pair.value;
  if (isScalar(node) && node.range && node.range[1] > node.range[0]) {
    return { start: node.range[0], end: node.range[1], text: written, rank: 0 };
  }
  const colon = separatorsOf(site).find((token) => token.type === 'map-value-ind');
  if (colon) return { start: colon.offset + 1, end: colon.offset + 1, text: ` ${written}`, rank: 0 };
  const end = (site.pair.key as ParsedNode).range[1];
  return { start: end, end, text: `: ${written}`, rank: 0 };
}

function separatorsOf(site: KeySite): { type: string; offset: number; source: string }[] {
  const token = site.pair.srcToken;
  return (token && 'sep' in token && token.sep) || [];
}

/** Offset behind the last character of a pair that is not layout: for an empty value, behind its colon. */
function contentEnd(pair: KeySite['pair']): number {
  const node = pair.value;
  const separators = (pair.srcToken && 'sep' in pair.srcToken && pair.srcToken.sep) || [];
  const lastMark = separators.findLast((token) => ['map-value-ind', 'anchor', 'tag'].includes(token.type));
  const marked = lastMark ? lastMark.offset + lastMark.source.length : pair.key.range[1];
  if (node === null || node === undefined) return marked;
  if (isMap(node) && !isFlow(node)) {
    const last = node.items.at(-1);
    return last ? contentEnd(last as KeySite['pair']) : Math.max(marked, node.range?.[1] ?? 0);
  }
  if (isSeq(node) && !isFlow(node)) return sequenceEnd(node.items, node.range?.[1] ?? marked);
  const range = (node as ParsedNode).range;
  return range[1] > range[0] ? range[1] : marked;
}

function sequenceEnd(items: unknown[], fallback: number): number {
  const last = items.at(-1) as ParsedNode | undefined;
  if (last === undefined) return fallback;
  if (isMap(last) && !isFlow(last)) {
    const pair = last.items.at(-1);
    return pair ? contentEnd(pair as KeySite['pair']) : fallback;
  }
  if (isSeq(last) && !isFlow(last)) return sequenceEnd(last.items, fallback);
  return last.range[1];
}

function trailingComment(text: string, end: number): { start: number; end: number; text: string } | undefined {
  const match = /^,?[ \t]+(#[^\r\n]*)/.exec(text.slice(end, end + 4096));
  if (!match?.[1]) return undefined;
  const comment = match[1].trimEnd();
  const start = end + match[0].length - match[1].length;
  return { start, end: start + comment.length, text: comment };
}

function styleOf(node: unknown): ScalarStyle {
  if (!isScalar(node)) return 'plain';
  if (node.type === 'QUOTE_SINGLE') return 'single';
  return node.type === 'QUOTE_DOUBLE' ? 'double' : 'plain';
}

function isFlow(node: unknown): boolean {
  return (isMap(node) || isSeq(node)) && node.flow === true;
}

function indentOf(file: YamlFile, map: MapSite['map']): number {
  if (map.srcToken?.type === 'block-map') return map.srcToken.indent;
  return file.at(map.range[0]).column - 1;
}

function newlineNear(text: string, offset: number): string {
  const before = text.lastIndexOf('\n', offset - 1);
  const index = before >= 0 ? before : text.indexOf('\n', offset);
  return index > 0 && text[index - 1] === '\r' ? '\r\n' : '\n';
}

function splice(text: string, splices: Splice[]): string {
  const ordered = splices.toSorted((a, b) => a.start - b.start || a.rank - b.rank);
  let out = '';
  let from = 0;
  for (const { start, end, text: inserted } of ordered) {
    out += text.slice(from, start) + inserted;
    from = end;
  }
  return out + text.slice(from);
}

/** The new text must hold the asked values and otherwise the same nodes as the old one. */
function verify(before: YamlFile, after: YamlFile, planned: PlannedEdit[]): void {
  const problem = syntaxProblems(after)[0];
  const unsafe = (what: string) =>
    new InputError(
      `The change to ${before.name} would ${what}, so nothing was written; make it by hand (and please report the file's shape).`,
    );
  if (problem) throw unsafe(`make it invalid YAML (${problem.message})`);
  const old = flatten(before);
  const now = flatten(after);
  const asked = new Map(planned.filter((plan) => plan.id !== '').map((plan) => [plan.id, plan.applied]));
  for (const id of new Set([...old.keys(), ...now.keys()])) {
    const edit = asked.get(id);
    if (edit === undefined) {
      if (old.get(id)?.shape !== now.get(id)?.shape) throw unsafe(`reach another key, ${id}`);
    } else if (now.get(id)?.value !== edit.after) {
      throw unsafe(`leave ${edit.path} at another value than asked`);
    }
  }
}

interface FlatNode {
  shape: string;
  value: unknown;
}

/** Every node of every document by its path: kind, anchor, tag, style and value. Repeated keys are counted. */
function flatten(file: YamlFile): Map<string, FlatNode> {
  const nodes = new Map<string, FlatNode>();
  file.documents.forEach((document, index) => {
    const walk = (node: unknown, path: string[]): void => {
      let id = idOf(index, path);
      for (let twin = 2; nodes.has(id); twin++) id = `${idOf(index, path)}#${twin}`;
      nodes.set(id, shapeOf(node));
      if (isMap(node)) {
        for (const pair of node.items) {
          if (isScalar(pair.key)) walk(pair.value, [...path, String(pair.key.value)]);
          else {
            walk(pair.key, [...path, '?']);
            walk(pair.value, [...path, '?:']);
          }
        }
      } else if (isSeq(node)) {
        node.items.forEach((item, position) => {
          walk(item, [...path, String(position)]);
        });
      }
    };
    walk(document.contents, []);
  });
  return nodes;
}

function shapeOf(node: unknown): FlatNode {
  if (isAlias(node)) return { shape: `*${node.source}`, value: undefined };
  if (isScalar(node)) {
    const shape = JSON.stringify([
      node.type,
      node.anchor,
      node.tag,
      typeof node.value,
      node.source,
      String(node.value),
    ]);
    return { shape, value: isYamlScalar(node.value) ? node.value : node.source };
  }
  if (isMap(node) || isSeq(node)) {
    return { shape: JSON.stringify([isMap(node), node.anchor, node.tag, node.flow]), value: undefined };
  }
  return { shape: 'null', value: null };
}

function idOf(documentIndex: number, path: readonly string[]): string {
  return `${documentIndex + 1}:${joinKey(path)}`;
}

function blank(key: string, path: readonly string[]): { key: string; path: string; line: number; column: number } {
  return { key, path: joinKey(path), line: 1, column: 1 };
}

function located(file: YamlFile, applied: AppliedEdit, site: KeySite | MapSite | undefined): AppliedEdit {
  if (site === undefined || applied.kind === 'removed') return applied;
  const found = findKey({ ...file, documents: [file.documents[site.documentIndex]!] }, applied.path);
  return found ? { ...applied, ...file.at(found.offset) } : applied;
}
