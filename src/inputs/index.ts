/** The inputs room: what to feed a model when nobody brings samples. Sizes and states are guessed, tried once and said. */
export {
  guessInputs,
  type InputContext,
  type InputGuess,
  type SettleContext,
  type SettleOptions,
  settleInputs,
} from './settle.ts';
export type { OpenSize, Role, SizeSet } from './sizes.ts';
