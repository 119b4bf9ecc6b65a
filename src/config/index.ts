export type { AppliedEdit, EditOptions, EditResult, KeyEdit } from './yaml/edit.ts';
export { editYaml, readKey } from './yaml/edit.ts';
export { readScalar, type YamlScalar } from './yaml/scalar.ts';
