import type { ActionName, Receipt } from '../../receipt/index.ts';
import type { Section } from '../page.ts';
import { checksumSection } from './checksum.ts';
import { compareSection } from './compare.ts';
import { configCheckSection } from './config-check.ts';
import { promoteSection } from './promote-config.ts';
import { quantizeSection } from './quantize.ts';
import { validateSection } from './validate.ts';

const SECTIONS: Record<ActionName, (receipt: Receipt) => Section> = {
  quantize: quantizeSection,
  checksum: checksumSection,
  validate: validateSection,
  compare: compareSection,
  'promote-config': (receipt) =>
    receipt.inputs.mode === 'check' ? configCheckSection(receipt) : promoteSection(receipt),
};

/** What a receipt says to people. */
export function sectionOf(receipt: Receipt): Section {
  return SECTIONS[receipt.action](receipt);
}
