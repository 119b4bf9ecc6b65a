import { graphSha256, modelFile } from '../evidence/models.ts';

/** What the service should be running when it is asked. */
export interface Target {
  /** Model path in the config now. */
  modelPath: string | undefined;
  /**
   * Model path that the change puts into the config. An expected value that is just this text means "the model path of
   * the config", so that on the way back the other one is expected.
   */
  promotedPath: string | undefined;
}

/** Values that may stand at the JSON path; undefined where any will do. */
export type Accepted = string[] | undefined;

/** What `health-expected` means for a target: placeholders filled, a path also in its absolute form. */
export async function acceptedValues(
  expected: string,
  { modelPath, promotedPath }: Target,
  projectRoot: string,
): Promise<Accepted> {
  const promotedFile = promotedPath && modelFile(promotedPath, projectRoot);
  const template = expected === promotedPath || expected === promotedFile ? '{model_path}' : expected;
  if (!template.includes('{model_')) {
    // A fixed text describes the promoted model; of another one it says nothing.
    return modelPath === promotedPath ? [template] : undefined;
  }
  if (modelPath === undefined) return undefined;
  const digest = template.includes('{model_sha256}') ? await graphSha256(modelPath, projectRoot) : undefined;
  const filled = template.replaceAll('{model_sha256}', () => digest ?? '');
  return [modelPath, modelFile(modelPath, projectRoot)].map((text) => filled.replaceAll('{model_path}', () => text));
}
