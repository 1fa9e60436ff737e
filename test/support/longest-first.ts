import path from 'node:path';

import { BaseSequencer, type TestSpecification } from 'vitest/node';

import { longestFiles } from './longest-files.ts';

/**
 * The files that take longest begin first, so that no worker has one of them left when the others are done. Vitest knows how long files
 * took from its cache, which a fresh checkout has not: it goes by their sizes there, and the longest are among the shortest texts.
 */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const root = this.ctx.config.root;
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = longestFiles.indexOf(path.relative(root, moduleId));
      return at === -1 ? longestFiles.length : at;
    };
    const group = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    const sorted = await super.sort(files);
    return sorted.sort((one, other) => group(one) - group(other) || rank(one) - rank(other));
  }
}
