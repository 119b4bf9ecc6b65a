/** The lines that differ between two versions of a text, in the manner of `diff -u` without context. */
export function lineDiff(before: string, after: string): string {
  const old = before.split('\n');
  const now = after.split('\n');
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start++;
  let oldEnd = old.length;
  let nowEnd = now.length;
  while (oldEnd > start && nowEnd > start && old[oldEnd - 1] === now[nowEnd - 1]) {
    oldEnd--;
    nowEnd--;
  }
  return hunks(old.slice(start, oldEnd), now.slice(start, nowEnd), start + 1).join('\n');
}

/** Longest common subsequence over the lines that are left; an edit of keys leaves few. */
function hunks(old: string[], now: string[], line: number): string[] {
  const width = now.length + 1;
  const common = new Uint32Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      common[i * width + j] =
        old[i] === now[j]
          ? common[(i + 1) * width + j + 1]! + 1
          : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!);
    }
  }
  const out: string[] = [];
  let removed: string[] = [];
  let added: string[] = [];
  let hunkLine = line;
  const flush = (): void => {
    if (removed.length + added.length > 0) out.push(`@@ line ${hunkLine} @@`, ...removed, ...added);
    removed = [];
    added = [];
  };
  for (let i = 0, j = 0; i < old.length || j < now.length; ) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      flush();
      i++;
      j++;
      hunkLine = line + i;
    } else if (j < now.length && (i === old.length || common[i * width + j + 1]! > common[(i + 1) * width + j]!)) {
      added.push(`+${now[j++]!.replace(/\r$/, '')}`);
    } else {
      removed.push(`-${old[i++]!.replace(/\r$/, '')}`);
    }
  }
  flush();
  return out;
}
