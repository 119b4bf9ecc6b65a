/** The config room: YAML edited in place, promotion, rollback, and the check for pull requests. */
export type { Budget, ComponentMemory } from './check/budget.ts';
export { type CheckOptions, type CheckResult, checkConfig } from './check/check.ts';
export { ANNOTATIONS_PER_KIND, annotations, type Finding } from './check/findings.ts';
export { GitError, runGit } from './delivery/git.ts';
export { authorization } from './delivery/repository.ts';
export type { ModelIdentity } from './evidence/models.ts';
export { memoryLimitMb } from './evidence/receipts.ts';
export { type Journal, parseJournal } from './live/journal.ts';
export {
  type ConfigContext,
  DEFAULT_MEMORY_KEY,
  DEFAULT_MODEL_PATH_KEY,
  type Fault,
  type FaultPoint,
  type LiveOptions,
} from './options.ts';
export { type ChangeOutcome, UNKNOWN_ROOT } from './outcome.ts';
export { foreseePromotion, type Outlook, type PromoteOptions, promote } from './promote.ts';
export { type RollbackOptions, rollback } from './rollback.ts';
export type { ServiceOptions, Step } from './service/service.ts';
export { showHistory } from './show-history.ts';
export { type HistoryEntry, type KeyChange, parseHistory, type ReceiptMention } from './states/history.ts';
export { type ListedState, listingMarkdown, type StateListing } from './states/listing.ts';
export {
  type AppliedEdit,
  type EditOptions,
  type EditResult,
  editYaml,
  type KeyEdit,
  readKey,
} from './yaml/edit.ts';
export { readScalar, type YamlScalar } from './yaml/scalar.ts';
