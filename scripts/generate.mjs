// Writes everything in this repository that is derived from something else, so that each fact stands in one place:
//   src/version.generated.ts, src/model/onnx_pb.ts and the WASM kernels, by their own scripts;
//   src/actions/definitions.generated.ts, docs/inputs.md and the READMEs' table of actions, from the action.yml files.
// `--check` writes nothing and exits 1 on drift. A missing or untyped description is an error in both modes.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const ACTIONS = {
  quantize: 'actions/quantize/action.yml',
  checksum: 'actions/checksum/action.yml',
  validate: 'actions/validate/action.yml',
  compare: 'actions/compare/action.yml',
  'promote-config': 'actions/promote-config/action.yml',
  'model-check': 'actions/model-check/action.yml',
  pipeline: 'action.yml',
};
/** Per README: heading words of its table of actions. Descriptions stay English: they are those of the action.yml files. */
const READMES = {
  'README.md': { action: 'Action', does: 'What it does', needs: 'Needs', gives: 'Gives, among others' },
  'README.es.md': { action: 'Acción', does: 'Qué hace (en inglés)', needs: 'Pide', gives: 'Da, entre otras cosas' },
};
/** Outputs that a table of actions has room for. */
const MAX_OUTPUTS = 4;

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const check = process.argv.includes('--check');
const problems = [];

const definitions = readDefinitions();
if (problems.length === 0) {
  emit('src/actions/definitions.generated.ts', definitionsModule(definitions));
  emit('docs/inputs.md', inputsDocument(definitions));
  for (const [readme, words] of Object.entries(READMES)) {
    const text = readFileSync(path.join(root, readme), 'utf8');
    emit(readme, withActions(text, readme, words));
  }
}
for (const script of ['generate-version.mjs', 'generate-proto.mjs', 'build-wasm.mjs']) runScript(script);

if (problems.length > 0) {
  console.error(problems.map((problem) => `generate: ${problem}`).join('\n'));
  process.exitCode = 1;
} else {
  console.log(check ? 'generate: everything generated is fresh' : 'generate: done');
}

function readDefinitions() {
  const result = {};
  for (const [name, file] of Object.entries(ACTIONS)) {
    const action = parse(readFileSync(path.join(root, file), 'utf8'));
    result[name] = { description: action.description, inputs: {}, outputs: {} };
    for (const group of ['inputs', 'outputs']) {
      for (const [key, value] of Object.entries(action[group] ?? {})) {
        const where = `${file}: ${group.slice(0, -1)} "${key}"`;
        const typed = typedDescription(value.description ?? '', where);
        if (typed) result[name][group][key] = { ...typed, ...defaultOf(value, typed, where) };
      }
    }
  }
  return result;
}

/** The type stands at the end of a description, in brackets: `[integer, runs]`, `[one of: auto, cpu]`. */
function typedDescription(text, where) {
  const match = /^(\S.*\S) \[([^[\]]+)\]$/s.exec(text.trim());
  if (!match) {
    problems.push(`${where} needs a description that ends in its type, such as "… [number, ms]"`);
    return undefined;
  }
  const description = match[1].replace(/\s+/g, ' ');
  const oneOf = /^one of: (.+)$/.exec(match[2]);
  if (oneOf) {
    const values = oneOf[1].split(/,\s*/);
    return {
      type: 'choice',
      values: values.every((value) => /^\d+$/.test(value)) ? values.map(Number) : values,
      description,
    };
  }
  const [type, ...unit] = match[2].split(/,\s*/);
  const types = ['path', 'text', 'lines', 'list', 'boolean', 'integer', 'number', 'number or auto'];
  if (!types.includes(type)) {
    problems.push(`${where} has the type "${type}"; use one of: ${types.join(', ')}, one of: …`);
    return undefined;
  }
  return { type, ...(unit.length > 0 ? { unit: unit.join(', ') } : {}), description };
}

function defaultOf(value, { type, values, description }, where) {
  if (value.required && value.default !== undefined) problems.push(`${where} is required and has a default`);
  if (value.required) return { required: true };
  if (value.default === undefined) return {};
  // An expression such as ${{ github.token }} is the runner's to resolve; a terminal has none.
  if (String(value.default).includes('${{')) return {};
  if (typeof value.default !== 'string') problems.push(`${where}: write the default as a string`);
  if (type === 'choice' && !values.map(String).includes(String(value.default))) {
    problems.push(`${where}: the default "${value.default}" is not in its list`);
  }
  // Emptying such an input switches it off; emptying any other returns to its default.
  return { default: String(value.default), ...(description.includes('Empty: no limit.') ? { emptyIsNone: true } : {}) };
}

/** An entry that several actions have stands once: the root action repeats nearly all of them, and bundles stay small. */
function definitionsModule(all) {
  const uses = new Map();
  for (const { inputs, outputs } of Object.values(all)) {
    for (const [name, entry] of [...Object.entries(inputs), ...Object.entries(outputs)]) {
      const text = JSON.stringify(entry, undefined, 2);
      uses.set(text, { count: (uses.get(text)?.count ?? 0) + 1, name: uses.get(text)?.name ?? name });
    }
  }
  const taken = new Set();
  const names = new Map();
  for (const [text, { count, name }] of uses) {
    if (count === 1) continue;
    let constant = name.replaceAll('-', '_');
    while (taken.has(constant)) constant += '_';
    taken.add(constant);
    names.set(text, constant);
  }
  const reference = (entry) => names.get(JSON.stringify(entry, undefined, 2)) ?? JSON.stringify(entry);
  const group = (entries) => {
    const lines = Object.entries(entries).map(([name, entry]) => `      '${name}': ${reference(entry)},`);
    return `{\n${lines.join('\n')}\n    }`;
  };
  const actions = Object.entries(all).map(([name, { description, inputs, outputs }]) =>
    [
      `  '${name}': {`,
      `    description: ${JSON.stringify(description)},`,
      `    inputs: ${group(inputs)},`,
      `    outputs: ${group(outputs)},`,
      '  },',
    ].join('\n'),
  );
  return [
    '// Written by scripts/generate.mjs from the action.yml files; do not edit.',
    ...[...names].map(([text, constant]) => `const ${constant} = ${text} as const;`),
    'export const definitions = {',
    ...actions,
    '} as const;',
    '',
  ].join('\n');
}

function withActions(text, readme, words) {
  const [begin, end] = ['<!-- actions -->', '<!-- /actions -->'];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) {
    problems.push(`${readme} lacks the markers ${begin} … ${end}`);
    return text;
  }
  const rows = Object.entries(definitions).map(([name, { description, inputs, outputs }]) => {
    const required = Object.keys(inputs).filter((input) => inputs[input].required);
    const code = (names) => names.map((each) => `\`${each}\``).join(', ');
    const given = code(Object.keys(outputs).slice(0, MAX_OUTPUTS));
    return `| [${name}](docs/inputs.md#${name}) | ${cell(description)} | ${code(required) || '–'} | ${given} |`;
  });
  const head = `| ${words.action} | ${words.does} | ${words.needs} | ${words.gives} |\n|---|---|---|---|`;
  return `${text.slice(0, from + begin.length)}\n${[head, ...rows].join('\n')}\n${text.slice(to)}`;
}

function inputsDocument(all) {
  const parts = Object.entries(all).map(([name, { description, inputs, outputs }]) => {
    const use = `\`${name === 'pipeline' ? 'OWNER/onnx-quantize-actions' : `OWNER/onnx-quantize-actions/actions/${name}`}\``;
    const about = `${plainAngles(description.replace(/\s+/g, ' '))} Action ${use}, command \`${name}\`.`;
    return `## ${name}\n\n${about}\n\n${table('inputs', inputs)}\n\n${table('outputs', outputs)}\n`;
  });
  return `# Inputs and outputs

Written by scripts/generate.mjs from the action.yml files; do not edit. Each input of an action is a flag of the command of
the same name. MB are 10^6 bytes. An empty limit is no gate.

${parts.join('\n')}`;
}

function table(group, entries) {
  const rows = Object.entries(entries).map(([name, entry]) => {
    const kind = entry.values
      ? entry.values.map((value) => `\`${value}\``).join(' · ')
      : [entry.type, entry.unit].filter(Boolean).join(', ');
    const meaning = cell(`${entry.description} *(${kind})*`);
    if (group === 'outputs') return `| \`${name}\` | ${meaning} |`;
    const standard = entry.required ? '**required**' : entry.default ? `\`${entry.default}\`` : '';
    return `| \`${name}\` | ${standard} | ${meaning} |`;
  });
  const head =
    group === 'outputs' ? ['| Output | Meaning |', '|---|---|'] : ['| Input | Default | Meaning |', '|---|---|---|'];
  return [...head, ...rows].join('\n');
}

function cell(text) {
  return plainAngles(text.replace(/\s+/g, ' ')).replaceAll('|', '\\|');
}

/** Angle brackets outside code spans would be read as HTML. */
function plainAngles(text) {
  return text
    .split(/(`[^`]*`)/)
    .map((part) => (part.startsWith('`') ? part : part.replaceAll('<', '&lt;').replaceAll('>', '&gt;')))
    .join('');
}

function emit(file, text) {
  const target = path.join(root, file);
  const old = existsSync(target) ? readFileSync(target, 'utf8') : undefined;
  if (old === text) return;
  if (check) problems.push(`${file} is stale; run: npm run generate`);
  else writeFileSync(target, text);
}

function runScript(script) {
  const file = path.join(root, 'scripts', script);
  try {
    execFileSync(process.execPath, [file, ...(check ? ['--check'] : [])], { cwd: root, stdio: 'inherit' });
  } catch {
    problems.push(`scripts/${script} failed`);
  }
}
