import path from 'node:path';
import { loadRunnerServices } from '../../entry.ts';
import { InputError, messageOf } from '../../errors.ts';
import { silentLog } from '../../receipt/index.ts';
import type { FiledReceipt } from '../evidence/receipts.ts';
import type { ConfigContext } from '../options.ts';
import { lineDiff } from '../yaml/diff.ts';
import { editYaml } from '../yaml/edit.ts';
import { commitMessage, type Delivery, receiptCopies } from './commit.ts';
import { commitFiles, fetchBase, fetchBranch, pushCommit, type Repository, readRepositoryFile } from './repository.ts';

export interface Proposal {
  commit: string;
  /** Address of the pull request. */
  url: string;
}

export interface ProposalOptions {
  token?: string | undefined;
  /** Branch of the pull request; `promote/<model stem>` unless given. */
  branch?: string | undefined;
}

/**
 * Proposes the edit: a branch with the base's tree and the edit, and a pull request with the figures. An open one is
 * updated; its branch moves forward by a merge of the base, never by force.
 */
export async function proposeEdit(
  repository: Repository,
  delivery: Delivery,
  options: ProposalOptions,
  { log = silentLog, env = process.env }: ConfigContext,
): Promise<Proposal> {
  const slug = await slugOf(repository, env);
  if (!options.token) throw new InputError("'delivery' is 'pull-request', which needs a 'token' that may write them.");
  const stem = (delivery.entry.model?.path ?? 'config').replace(/^.*\//, '').replace(/\.[^.]*$/, '');
  const head = options.branch || `promote/${stem.replaceAll(/[^\w.-]/g, '-')}`;
  if (head === repository.base) {
    throw new InputError(`'branch' is '${head}', the branch to merge into; name another one for the pull request.`);
  }

  const tip = await fetchBase(repository);
  const source = await readRepositoryFile(repository, tip);
  const { bytes } = editYaml(source, delivery.edits, {
    name: repository.file,
    updateComment: delivery.updateComment,
  });
  const files = [{ path: repository.file, bytes }, ...receiptCopies(repository, delivery.receipts)];
  const known = await fetchBranch(repository, head);
  const parents = known === undefined ? [tip] : (await contains(repository, known, tip)) ? [known] : [known, tip];
  const made = await commitFiles(repository, tip, parents, files, commitMessage(delivery.entry));
  const commit = made ?? known ?? tip;
  if (made !== undefined && !(await pushCommit(repository, made, head))) {
    throw new InputError(`'${head}' has moved while it was written; run again.`);
  }

  const { getOctokit } = await loadRunnerServices();
  const octokit = getOctokit(options.token, env.GITHUB_API_URL ? { baseUrl: env.GITHUB_API_URL } : {});
  const { pulls } = octokit.rest;
  const title = `Promote ${delivery.entry.model?.path ?? repository.file}`;
  const body = describe(delivery, lineDiff(source.toString('utf8'), bytes.toString('utf8')));
  try {
    const open = await pulls.list({ ...slug, state: 'open', base: repository.base, head: `${slug.owner}:${head}` });
    // A server that does not know the filter gives others too.
    const existing = open.data.find((pull) => pull.head.ref === head);
    const answer = existing
      ? await pulls.update({ ...slug, pull_number: existing.number, title, body })
      : await pulls.create({ ...slug, title, body, head, base: repository.base });
    const url = answer.data.html_url;
    log.info(`${existing ? 'Updated' : 'Opened'} ${url}`);
    return { commit, url };
  } catch (cause) {
    throw new InputError(
      `The branch '${head}' is pushed, but GitHub refused the pull request (${messageOf(cause)}): give a 'token' with 'pull-requests: write', and allow Actions to create pull requests in the repository's settings.`,
      { cause },
    );
  }
}

async function contains(repository: Repository, commit: string, ancestor: string): Promise<boolean> {
  return repository.git(['merge-base', '--is-ancestor', ancestor, commit]).then(
    () => true,
    () => false,
  );
}

async function slugOf(repository: Repository, env: NodeJS.ProcessEnv): Promise<{ owner: string; repo: string }> {
  const remote = String(await repository.git(['remote', 'get-url', 'origin'])).trim();
  const named = env.GITHUB_REPOSITORY || /[/:]([^/:]+\/[^/]+?)(?:\.git)?$/.exec(remote)?.[1];
  const [owner, repo] = (named ?? '').split('/');
  if (!owner || !repo)
    throw new InputError(`The remote '${remote}' names no GitHub repository; set GITHUB_REPOSITORY.`);
  return { owner, repo };
}

function describe({ entry, receipts }: Delivery, diff: string): string {
  const rows = receipts.flatMap(figures);
  return [
    `Proposes \`${entry.model?.path}\` for \`${entry.config}\`. Nothing live has been touched: merging this changes the file only; promote with \`delivery: file\` or deploy it as this repository does.`,
    ...(entry.reason ? ['', entry.reason] : []),
    ...(entry.forced ? ['', '> [!WARNING]', `> Forced over: ${entry.forced.join(' ')}`] : []),
    '',
    '```diff',
    diff,
    '```',
    '',
    '| figure | value | receipt |',
    '|---|---|---|',
    ...rows,
    '',
    ...receipts.map(
      ({ file, receipt }) =>
        `- ${receipt.action}: **${receipt.verdict}**, ${receipt.createdAt} (\`${path.basename(file)}\`)`,
    ),
    '',
    `Root of the model: \`${entry.model?.root ?? 'unknown'}\``,
  ].join('\n');
}

/** The plain figures of a receipt's results, one table row each. */
function figures({ file, receipt }: FiledReceipt): string[] {
  return Object.entries(receipt.results).flatMap(([name, value]) =>
    typeof value === 'number' && Number.isFinite(value)
      ? [`| ${name} | ${Number(value.toPrecision(5))} | ${path.basename(file)} |`]
      : [],
  );
}
