export {
  floatAttribute,
  floatOf,
  floatTensor,
  int64Tensor,
  intAttribute,
  intsAttribute,
  MS_DOMAIN,
  makeNode,
  makeTensor,
  shallowCopy,
  stringAttribute,
} from '../model/index.ts';
