import { bytes } from '../../bytes.ts';
import type { Receipt } from '../../receipt/index.ts';
import { duration } from '../format.ts';
import type { Section } from '../page.ts';
import { baseSection } from './base.ts';
import { fields, list, numberOf, textOf } from './read.ts';

export function checksumSection(receipt: Receipt): Section {
  const { mode, manifest, files, bytes: hashed, ms } = fields(receipt.results);
  const verified = textOf(mode) === 'verify';
  const section = baseSection(receipt, verified ? 'Checksum, verified' : 'Checksum, written');
  const checked = list(files);
  const good = checked.filter(({ status }) => status === 'ok').length;
  section.gates.push({
    name: verified ? 'Files as listed' : 'Files listed',
    figure: `${good} of ${checked.length}`,
    limit: `${checked.length}`,
    verdict: receipt.verdict,
  });
  section.facts.push(['manifest', textOf(manifest)], ['root', receipt.modelRoot]);
  const [read, took] = [numberOf(hashed), numberOf(ms)];
  const count = `${checked.length} ${checked.length === 1 ? 'file' : 'files'}`;
  const found = verified ? (good === checked.length ? 'match' : `${checked.length - good} do not match`) : 'listed';
  section.gist = [count, ...(read === undefined ? [] : [bytes(read)]), found].join(', ');
  if (read !== undefined && took !== undefined) section.facts.push(['hashed', `${bytes(read)} in ${duration(took)}`]);
  section.tables.push({
    title: 'Files',
    head: ['file', 'size', 'SHA-256', 'status'],
    rows: checked.map(({ name, size, sha256, status }) => [
      textOf(name),
      numberOf(size) === undefined ? '–' : bytes(numberOf(size) ?? 0),
      textOf(sha256),
      textOf(status),
    ]),
    numeric: [1],
    code: [0, 2],
  });
  return section;
}
