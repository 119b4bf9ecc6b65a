/** One comparison. Arguments: options as JSON. Prints verdict, figures and seconds as JSON. */
import { compare } from '../../lib/compare/index.js';

const { verdict, figures } = await compare(JSON.parse(process.argv[2]));
const { similarity, seconds, speed, reference, model, outputs } = figures;
console.log(JSON.stringify({ verdict, similarity, seconds, speed, reference, model, elements: outputs[0].elements }));
