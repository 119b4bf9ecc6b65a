import { InputError } from '../errors.ts';
import { settleInputs } from '../inputs/index.ts';
import { readModel } from '../model/index.ts';
import { resolveRuntime, SessionError, type SettledInputs } from '../runtime/index.ts';
import type { ActionContext } from './host.ts';
import type { Inputs } from './inputs.ts';

type Options = Pick<
  Inputs<'pipeline'>,
  'model' | 'samples' | 'dims' | 'ranges' | 'seed' | 'count' | 'executionProvider' | 'threads' | 'timeoutSeconds'
> &
  Partial<Pick<Inputs<'pipeline'>, 'ortPath' | 'registryUrl'>>;

/** Settles for a whole chain what its model is fed. Undefined where samples are brought or nothing is open. */
export async function settleFor(inputs: Options, context: ActionContext): Promise<SettledInputs | undefined> {
  if (inputs.samples) return undefined;
  const { log, signal, cache, temporaryFolder } = context;
  const { ortPath, registryUrl } = inputs;
  const runtime = () => resolveRuntime({ log, signal, cache, ortPath, registryUrl });
  try {
    return await settleInputs(await readModel(inputs.model), inputs, { ...context, temporaryFolder, runtime });
  } catch (error) {
    // A model that does not load is the user's to know, before anything is made of it.
    if (error instanceof SessionError && !signal.aborted) throw new InputError(`${error.message}.`, { cause: error });
    throw error;
  }
}
