/**
 * Whether a path matches a glob: `*` within a folder, `**` across folders, `?` one character. Takes the time of both
 * lengths multiplied, whatever the glob: it is of a pull request, and a regular expression could be kept busy for ever.
 */
export function matchesGlob(path: string, glob: string): boolean {
  // Where in the path what has been read of the glob may end.
  let ends = [true];
  for (const [part] of glob.matchAll(/\*\*\/|\*\*|./gs)) {
    const next: boolean[] = [];
    let within = false;
    for (let at = 0; at <= path.length; at += 1) {
      const folder = path[at - 1] === '/';
      if (part === '**/') next[at] = ends[at] || (within && folder);
      else if (part === '**') next[at] = within || ends[at] === true;
      else if (part === '*') next[at] = (within && !folder) || ends[at] === true;
      else next[at] = at > 0 && ends[at - 1] === true && (part === '?' ? !folder : path[at - 1] === part);
      within = part === '*' ? next[at]! : within || ends[at] === true;
    }
    ends = next;
  }
  return ends[path.length] === true;
}
