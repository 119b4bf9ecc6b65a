import { type Document, isAlias, isMap, isScalar, isSeq, type Pair, type ParsedNode, visit, type YAMLMap } from 'yaml';
import { InputError } from '../../errors.ts';
import type { YamlFile } from './parse.ts';

/** A `key: value` of a file, with all that leads to it. */
export interface KeySite {
  document: Document.Parsed<ParsedNode>;
  documentIndex: number;
  /** Full path from the document's root. */
  path: string[];
  map: YAMLMap.Parsed;
  pair: Pair<ParsedNode, ParsedNode | null>;
  /** Collections from the root down to `map`. */
  ancestors: ParsedNode[];
  /** Offset of the key. */
  offset: number;
}

/** Where a missing key would stand: the map that its parents name. */
export interface MapSite {
  document: Document.Parsed<ParsedNode>;
  documentIndex: number;
  path: string[];
  map: YAMLMap.Parsed;
  ancestors: ParsedNode[];
  offset: number;
}

/** The segments of a dotted key; `\.` is a dot inside a segment. */
export function splitKey(key: string): string[] {
  const segments = key
    .trim()
    .split(/(?<!\\)\./)
    .map((segment) => segment.replaceAll('\\.', '.').trim());
  if (segments.some((segment) => segment === '')) {
    throw new InputError(`'${key}' is not a key: write a dotted path such as audio_omni.model_path.`);
  }
  return segments;
}

/** The dotted form of a path. */
export function joinKey(path: readonly string[]): string {
  return path.map((segment) => segment.replaceAll('.', '\\.')).join('.');
}

/**
 * The one place where a key stands: at exactly this path, or else the only place deeper whose path ends so.
 * Undefined where there is none; two candidates are refused with both lines.
 */
export function findKey(file: YamlFile, key: string): KeySite | undefined {
  return only(file, key, candidates(allKeys(file), splitKey(key)));
}

/** The one mapping into which a missing key belongs: the one its parents name, or the root of the only document. */
export function findParent(file: YamlFile, key: string): MapSite | undefined {
  const parents = splitKey(key).slice(0, -1);
  if (parents.length > 0) {
    const site = only(file, joinKey(parents), candidates(allKeys(file), parents));
    if (site === undefined) return undefined;
    const value = site.pair.value;
    if (!isMap(value)) {
      const { line } = file.at(site.offset);
      throw new InputError(
        `'${joinKey(site.path)}' on line ${line} of ${file.name} holds no mapping, so '${key}' cannot stand in it; write that key by hand once.`,
      );
    }
    return { ...site, map: value as YAMLMap.Parsed, ancestors: [...site.ancestors, value as ParsedNode] };
  }
  const roots = file.documents.flatMap((document, documentIndex) =>
    isMap(document.contents)
      ? [{ document, documentIndex, path: [], map: document.contents, ancestors: [document.contents as ParsedNode] }]
      : [],
  );
  if (roots.length > 1) {
    throw new InputError(
      `${file.name} holds ${roots.length} documents, and '${key}' stands in none: say which by writing the key there by hand once.`,
    );
  }
  const root = roots[0];
  return root && ({ ...root, offset: root.map.range[0] } as MapSite);
}

/** Every key of every document, in the order of the file. Aliases are not followed: their keys stand elsewhere. */
export function allKeys(file: YamlFile): KeySite[] {
  const sites: KeySite[] = [];
  file.documents.forEach((document, documentIndex) => {
    const walk = (node: unknown, path: string[], ancestors: ParsedNode[]): void => {
      if (isMap(node)) {
        const map = node as YAMLMap.Parsed;
        const within = [...ancestors, map as ParsedNode];
        for (const pair of map.items) {
          if (!isScalar(pair.key)) continue;
          const here = [...path, String(pair.key.value)];
          const offset = pair.key.range?.[0] ?? map.range[0];
          sites.push({
            document,
            documentIndex,
            path: here,
            map,
            pair: pair as KeySite['pair'],
            ancestors: within,
            offset,
          });
          walk(pair.value, here, within);
        }
      } else if (isSeq(node)) {
        const within = [...ancestors, node as ParsedNode];
        node.items.forEach((item, index) => {
          walk(item, [...path, String(index)], within);
        });
      }
    };
    walk(document.contents, [], []);
  });
  return sites;
}

/** An ancestor whose anchor is used elsewhere: changing what lies in it would change two places. */
export function sharedAncestor(site: KeySite | MapSite): string | undefined {
  const anchors = site.ancestors.flatMap((node) => ('anchor' in node && node.anchor ? [node.anchor] : []));
  if (anchors.length === 0) return undefined;
  let shared: string | undefined;
  visit(site.document, {
    Alias(_key, alias) {
      if (isAlias(alias) && anchors.includes(alias.source)) {
        shared = alias.source;
        return visit.BREAK;
      }
      return undefined;
    },
  });
  return shared;
}

function candidates(sites: KeySite[], wanted: string[]): KeySite[] {
  const ending = sites.filter(({ path }) => {
    const start = path.length - wanted.length;
    return start >= 0 && wanted.every((segment, index) => path[start + index] === segment);
  });
  const exact = ending.filter(({ path }) => path.length === wanted.length);
  return exact.length > 0 ? exact : ending;
}

function only(file: YamlFile, key: string, found: KeySite[]): KeySite | undefined {
  if (found.length < 2) return found[0];
  const places = found.map((site) => `'${joinKey(site.path)}' on line ${file.at(site.offset).line}`);
  const listed = `${places.slice(0, -1).join(', ')} and ${places.at(-1)}`;
  const twins = new Set(found.map((site) => joinKey(site.path))).size === 1;
  const documents = new Set(found.map((site) => site.documentIndex)).size;
  const advice = !twins
    ? 'write the full path of the one you mean'
    : documents > 1
      ? 'the same path in two documents cannot be told apart, so edit it by hand'
      : 'remove one of them';
  throw new InputError(`'${key}' could be ${listed} of ${file.name}; ${advice}.`);
}
