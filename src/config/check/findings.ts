import type { Place } from '../../receipt/index.ts';

/** Something that a check has found, at its place in the config. */
export interface Finding {
  severity: 'error' | 'warning' | 'notice';
  /** Short name of the rule, for filters. */
  rule:
    | 'syntax'
    | 'duplicate-key'
    | 'model-file'
    | 'manifest'
    | 'memory-limit'
    | 'memory-budget'
    | 'near-miss'
    | 'rules';
  /** One sentence: what was found, and what to do. */
  message: string;
  place: Place;
}

/** GitHub shows at most this many annotations of a kind for each step. */
export const ANNOTATIONS_PER_KIND = 10;

const SEVERITIES = ['error', 'warning', 'notice'] as const;

/** Errors first, then by line. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  return findings.toSorted(
    (a, b) =>
      SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) ||
      a.place.file.localeCompare(b.place.file) ||
      (a.place.line ?? 0) - (b.place.line ?? 0) ||
      (a.place.column ?? 0) - (b.place.column ?? 0),
  );
}

/**
 * Findings as annotations under GitHub's limits: ten of a kind, errors first. Where there are more, the tenth lists
 * the rest with their lines, so that none is lost.
 */
export function annotations(findings: readonly Finding[]): Finding[] {
  const sorted = sortFindings(findings);
  return SEVERITIES.flatMap((severity) => {
    const kind = sorted.filter((finding) => finding.severity === severity);
    if (kind.length <= ANNOTATIONS_PER_KIND) return kind;
    const rest = kind.slice(ANNOTATIONS_PER_KIND - 1);
    const listed = rest.map(({ place, message }) => `${place.file}:${place.line ?? 1}: ${message}`).join('\n');
    const last: Finding = { ...rest[0]!, message: `${rest.length} more ${severity}s:\n${listed}` };
    return [...kind.slice(0, ANNOTATIONS_PER_KIND - 1), last];
  });
}
