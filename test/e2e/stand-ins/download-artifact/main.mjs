import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DefaultArtifactClient } from '@actions/artifact';
import { getInput, info, setFailed } from '@actions/core';

try {
  const folder = getInput('path', { required: true });
  // As version 8 does where what arrived has another digest than what was uploaded: once, in the job that a test names.
  const damaged = path.join(folder, 'SHA256SUMS');
  const { DAMAGE_FIRST_DOWNLOAD_OF: job, GITHUB_JOB } = process.env;
  if (job !== undefined && job === GITHUB_JOB && !existsSync(damaged)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(damaged, 'cut');
    throw new Error('Artifact digest mismatch');
  }
  const client = new DefaultArtifactClient();
  const { artifact } = await client.getArtifact(getInput('name', { required: true }));
  const { downloadPath } = await client.downloadArtifact(artifact.id, { path: folder });
  info(`Artifact ${artifact.name} (${artifact.id}): ${downloadPath}`);
} catch (error) {
  setFailed(error);
}
