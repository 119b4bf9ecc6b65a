// A bundle of its own, because the plotting library is larger than the rest and draws only this page.
export { htmlReport } from '../report/index.ts';
