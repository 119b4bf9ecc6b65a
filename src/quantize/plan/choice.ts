import type { GraphIndex } from '../../model/index.ts';
import type { Form, Remarks, Site } from '../methods/method.ts';
import { type MethodSettings, methodOf } from '../methods/registry.ts';
import type { NodeSettings, Settings } from '../settings.ts';
import { type Exclusion, overrideSelector, selector } from './selection.ts';

/** Which forms a node may take: those of the run's method, or what the options say of that node. */
export interface Choice {
  /** Why a node stays as it is, or undefined. */
  exclusion(site: Site): Exclusion | undefined;
  /** Why the run's method does not have a node, or undefined. */
  refusal(site: Site): string | undefined;
  /** The forms in one index of the model: those of a node, the best first, and all that any node may take. */
  of(index: GraphIndex): { forms(site: Site): readonly Form[]; all: readonly Form[] };
}

/** Nodes that another method has. */
type Elsewhere = NodeSettings & { settings: MethodSettings };

/** @param observed what the run's method saw of the model at work */
export function chooser(settings: Settings, observed: Remarks | undefined): Choice {
  const method = methodOf(settings);
  const listed = selector(settings);
  const overrideOf = overrideSelector(settings.overrides);
  // A method that looks at the model at work has all its nodes as it saw them.
  const isElsewhere = (override: NodeSettings | undefined): override is Elsewhere =>
    override?.settings !== undefined && !(method.observe?.(settings) && override.settings.method === settings.method);
  const exclusion = (site: Site): Exclusion | undefined => {
    const override = overrideOf(site);
    const kept = override && !override.settings;
    return listed(site) ?? (kept ? { reason: `kept by \`overrides\` (${override.pattern})`, byName: true } : undefined);
  };
  const excluded = (site: Site) => exclusion(site)?.reason;
  const elsewhere = (site: Site) => {
    const override = overrideOf(site);
    return isElsewhere(override) ? `another method by \`overrides\` (${override.pattern})` : undefined;
  };
  const refusal = (site: Site) => excluded(site) ?? elsewhere(site);
  return {
    exclusion,
    refusal,
    of(index) {
      const own = method.forms(settings, { index, observed, exclusion: refusal });
      const others = new Map(
        settings.overrides.filter(isElsewhere).map((override) => {
          const known = { index, observed: undefined, exclusion: excluded };
          return [override, methodOf(override.settings).forms(override.settings, known)];
        }),
      );
      const forms = (site: Site) => {
        const override = overrideOf(site);
        return isElsewhere(override) ? others.get(override)! : own;
      };
      return { forms, all: [own, ...others.values()].flat() };
    },
  };
}
