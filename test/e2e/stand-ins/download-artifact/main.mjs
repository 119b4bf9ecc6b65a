import { DefaultArtifactClient } from '@actions/artifact';
import { getInput, info, setFailed } from '@actions/core';

try {
  const client = new DefaultArtifactClient();
  const { artifact } = await client.getArtifact(getInput('name', { required: true }));
  const { downloadPath } = await client.downloadArtifact(artifact.id, { path: getInput('path', { required: true }) });
  info(`Artifact ${artifact.name} (${artifact.id}): ${downloadPath}`);
} catch (error) {
  setFailed(error);
}
