import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } from '@actions/workflow-parser';
import { parseAction } from '@actions/workflow-parser/actions/action-parser';
import { describe, expect, it } from 'vitest';

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
