import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } from '@actions/workflow-parser';
import { parseAction } from '@actions/workflow-parser/actions/action-parser';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const root = fileURLToPath(new URL('../..', import.meta.url));
const workflows = ['.github/workflows', 'examples/sarai/.github/workflows'].flatMap((folder) =>
  readdirSync(path.join(root, folder)).map((name) => `${folder}/${name}`),
);
const actions = ['action.yml', ...readdirSync(path.join(root, 'actions')).map((name) => `actions/${name}/action.yml`)];

/** What GitHub's own parser has to say against a workflow. */
async function workflowErrors(name: string, content: string): Promise<string[]> {
  const parsed = parseWorkflow({ name, content }, new NoOperationTraceWriter());
  const errors = parsed.context.errors.getErrors().map((error) => error.message);
  if (!parsed.value || errors.length > 0) return errors;
  const template = await convertWorkflowTemplate(parsed.context, parsed.value);
  return (template.errors ?? []).map((error) => error.Message);
}

/** What GitHub's own parser has to say against an action.yml. */
function actionErrors(name: string, content: string): string[] {
  const parsed = parseAction({ name, content }, new NoOperationTraceWriter());
  return parsed.context.errors.getErrors().map((error) => error.message);
}

describe("GitHub's own parser", () => {
  it.each(workflows)('accepts %s', async (file) => {
    expect(await workflowErrors(file, readFileSync(path.join(root, file), 'utf8'))).toEqual([]);
  });

  it.each(actions)('accepts %s', (file) => {
    expect(actionErrors(file, readFileSync(path.join(root, file), 'utf8'))).toEqual([]);
  });

  it('refuses a key that does not exist, so the tests above can fail', async () => {
    const workflow = 'on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    timeout-minute: 5\n    steps: []\n';
    expect(await workflowErrors('bad.yml', workflow)).not.toEqual([]);
    expect(actionErrors('action.yml', 'name: x\ndescription: y\nrunz: {}\n')).not.toEqual([]);
  });
});

describe('what workflows hand to our actions', () => {
  type Uses = { uses?: string; with?: Record<string, string> };
  const load = (file: string) => parse(readFileSync(path.join(root, file), 'utf8'));
  const stepsOf = (file: string): { action: string; given: Record<string, string> }[] => {
    const jobs: { steps?: Uses[] }[] = Object.values(load(file).jobs ?? {});
    return jobs
      .flatMap(({ steps = [] }) => steps)
      .flatMap(({ uses = '', with: given = {} }) =>
        uses.startsWith('$/actions/') ? [{ action: uses.slice('$/actions/'.length), given }] : [],
      );
  };
  const reusable = workflows.filter((file) => load(file).on?.workflow_call && file.startsWith('.github'));

  it.each(reusable)('%s gives inputs that there are', (file) => {
    for (const { action, given } of stepsOf(file)) {
      expect(Object.keys(load(`actions/${action}/action.yml`).inputs)).toEqual(
        expect.arrayContaining(Object.keys(given)),
      );
    }
  });

  it.each(reusable)('%s uses every input of its own', (file) => {
    const text = readFileSync(path.join(root, file), 'utf8');
    for (const name of Object.keys(load(file).on.workflow_call.inputs ?? {})) {
      expect(text, name).toMatch(new RegExp(`inputs\\.${name}\\b(?!-)`));
    }
  });

  it('quantize hands on what noise calls for, to each step that has it', () => {
    const given = Object.fromEntries(
      stepsOf('.github/workflows/quantize.yml').map((step) => [step.action, step.given]),
    );
    const wanted = ['threads', 'runs', 'warmup', 'allow-inconclusive', 'update-comment'];
    for (const action of ['validate', 'compare', 'promote-config']) {
      const has = Object.keys(load(`actions/${action}/action.yml`).inputs).filter((name) => wanted.includes(name));
      for (const name of has) expect(given[action]?.[name]).toBe(`\${{ inputs.${name} }}`);
    }
  });
});
