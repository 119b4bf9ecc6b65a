import { globSync, statSync } from 'node:fs';
import path from 'node:path';
import { DefaultArtifactClient } from '@actions/artifact';
import { getInput, getMultilineInput, info, setFailed } from '@actions/core';

/** Files below a folder, a file itself, or the matches of a pattern. */
function filesOf(pattern) {
  const found = statSync(pattern, { throwIfNoEntry: false })?.isDirectory()
    ? globSync(path.join(pattern, '**'))
    : globSync(pattern);
  return found.filter((file) => statSync(file).isFile());
}

/** The deepest folder that holds all files. */
function commonFolder(files) {
  let folder = path.dirname(files[0]);
  while (!files.every((file) => file.startsWith(folder + path.sep))) folder = path.dirname(folder);
  return folder;
}

try {
  const files = getMultilineInput('path', { required: true }).flatMap(filesOf);
  if (files.length > 0) {
    const { id, size } = await new DefaultArtifactClient().uploadArtifact(
      getInput('name'),
      files,
      commonFolder(files),
      {
        compressionLevel: Number(getInput('compression-level')),
        retentionDays: Number(getInput('retention-days')),
      },
    );
    info(`Artifact ${getInput('name')} (${id}): ${files.length} files, ${size} bytes`);
  } else if (getInput('if-no-files-found') === 'error') {
    setFailed(`No files at ${getInput('path')}`);
  }
} catch (error) {
  setFailed(error);
}
