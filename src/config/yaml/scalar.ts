import { isScalar, parse, parseDocument } from 'yaml';
import { InputError } from '../../errors.ts';
import { refuseDeepYaml } from '../../yaml.ts';

/** What a key can be set to. */
export type YamlScalar = string | number | boolean | null;

export type ScalarStyle = 'plain' | 'single' | 'double';

/**
 * Writes a scalar in a style, or in the nearest one that can hold it. A plain string is one that YAML 1.1 (PyYAML) and
 * 1.2 both read back as that string; everything else is quoted. A number in a quoted style stays a quoted string,
 * because that is what its reader has been getting.
 */
export function writeScalar(value: YamlScalar, style: ScalarStyle, inFlow: boolean): string {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new InputError(`${value} is not a number that a config can hold; give a finite one.`);
  }
  if (value === null) return 'null';
  if (typeof value !== 'string') return style === 'plain' ? String(value) : writeScalar(String(value), style, inFlow);
  if (style === 'plain' && isPlain(value, inFlow)) return value;
  if (style !== 'double' && isPrintable(value)) return `'${value.replaceAll("'", "''")}'`;
  return JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A scalar as a user writes it on the right of `key=`: `1200` is a number, `true` a boolean, `"1200"` a string. */
export function readScalar(text: string): YamlScalar {
  refuseDeepYaml(text, 'What a key is set to');
  const document = parseDocument(text, { logLevel: 'error' });
  const node = document.contents;
  if (document.errors.length > 0 || (node !== null && !isScalar(node))) return text;
  const value = node === null ? null : node.value;
  return isYamlScalar(value) ? value : text;
}

export function isYamlScalar(value: unknown): value is YamlScalar {
  return value === null || ['string', 'number', 'boolean'].includes(typeof value);
}

function isPlain(value: string, inFlow: boolean): boolean {
  if (!isPrintable(value) || value !== value.trim() || value === '') return false;
  // A lone '=' and '<<' mean something to YAML 1.1, 12:30 is a number there; 1_000 is one for PyYAML.
  if (/^[-+]?[\d_.:]+$/.test(value) || value === '=' || value === '<<') return false;
  try {
    return (['1.1', '1.2'] as const).every((version) => {
      const options = { version, logLevel: 'error' } as const;
      const text = inFlow ? `{k: ${value}}` : `k: ${value}\n`;
      return (parse(text, options) as { k?: unknown } | null)?.k === value && parse(value, options) === value;
    });
  } catch {
    return false; // Not readable without quotes, which is what was asked.
  }
}

function isPrintable(value: string): boolean {
  return !/[\p{Cc}\p{Surrogate}\u2028\u2029\ufeff\ufffe\uffff]/u.test(value);
}
