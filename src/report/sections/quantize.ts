import type { Receipt } from '../../receipt/index.ts';
import { bytes, number, quantity } from '../format.ts';
import type { Section } from '../page.ts';
import { baseSection } from './base.ts';
import { fields, list, numberOf, textOf } from './read.ts';

export function quantizeSection(receipt: Receipt): Section {
  const { method, sourceBytes, resultBytes, compressionRatio, nodesQuantized, weights, nodes } = fields(
    receipt.results,
  );
  const section = baseSection(receipt, 'Quantize');
  const source = numberOf(sourceBytes);
  const result = numberOf(resultBytes);
  if (source !== undefined && result !== undefined) {
    section.gates.push({
      name: 'Size on disk',
      figure: `${bytes(source)} → ${bytes(result)}`,
      limit: '',
      verdict: 'info',
    });
    section.charts.push({
      kind: 'bars',
      title: 'Size on disk, MB',
      unit: 'MB',
      bars: [
        { label: 'before', value: source / 1e6 },
        { label: 'after', value: result / 1e6 },
      ],
    });
  }
  const ratio = numberOf(compressionRatio);
  if (ratio !== undefined) {
    section.gates.push({ name: 'Compression', figure: quantity(ratio, '×'), limit: '', verdict: 'info' });
  }
  section.facts.push(...weightFacts(fields(weights)));
  if (textOf(method) !== '') section.facts.push(['method', textOf(method)]);
  if (numberOf(nodesQuantized) !== undefined) section.facts.push(['nodes quantized', textOf(nodesQuantized)]);
  section.tables.push({
    title: 'Nodes with weights, and why each is as it is',
    head: ['node', 'operator', 'form', 'before', 'after', 'why'],
    rows: list(nodes).map((node) => [
      textOf(node.name),
      textOf(node.opType),
      textOf(node.form ?? node.action),
      bytes(numberOf(node.before) ?? 0),
      bytes(numberOf(node.after) ?? 0),
      textOf(node.reason),
    ]),
    numeric: [3, 4],
    code: [0],
  });
  return section;
}

function weightFacts({ before, quantized, after }: Record<string, unknown>): [string, string][] {
  const [was, covered, is] = [numberOf(before), numberOf(quantized), numberOf(after)];
  if (was === undefined || covered === undefined || is === undefined || was === 0) return [];
  return [['weights', `${bytes(was)} → ${bytes(is)}, ${number((100 * covered) / was)} % of the bytes quantized`]];
}
