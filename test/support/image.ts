/**
 * Performs a Dockerfile without a container engine: each stage is a folder that stands for its root, RUN steps run in it, COPY steps
 * copy into it. It knows the instructions that ours uses and refuses all others, so that no step goes untested.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import path from 'node:path';

interface Instruction {
  name: string;
  /** `--from=build` as `from: 'build'`. */
  flags: Record<string, string>;
  text: string;
}

export interface Image {
  /** The folder that stands for its root. */
  root: string;
  workdir: string;
  env: Record<string, string>;
  user: { uid: number; gid: number };
  ports: number[];
  /** What a container runs: the entry point, and what is put after it by default. */
  entrypoint: string[];
  cmd: string[];
  /** What COPY steps gave to other owners than root, as paths of the image. */
  owned: { at: string; uid: number; gid: number }[];
}

const everything = 'npm ci --ignore-scripts --no-audit --no-fund';

/** The instructions of a Dockerfile, continued lines joined. */
function parseDockerfile(text: string): Instruction[] {
  return text
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [, name = '', rest = ''] = /^(\w+)\s+(.*)$/.exec(line.trim()) ?? [];
      const flags: Record<string, string> = {};
      const found = rest.replaceAll(/(?:^|\s)--([a-z]+)=(\S+)/g, (whole, flag: string, value: string) => {
        if (name === 'COPY') flags[flag] = value;
        return name === 'COPY' ? '' : whole;
      });
      return { name: name.toUpperCase(), flags, text: found.trim() };
    });
}

/**
 * Performs all stages below `folder`.
 *
 * @param context the folder that would be sent to the engine; its .dockerignore is heeded
 * @param env what RUN steps get besides PATH and HOME
 * @returns the last stage
 */
export function buildImage(context: string, folder: string, env: Record<string, string> = {}): Image {
  const stages = new Map<string, string>();
  let image: Image | undefined;
  for (const { name, flags, text } of parseDockerfile(readFileSync(path.join(context, 'Dockerfile'), 'utf8'))) {
    if (name === 'FROM') {
      image = emptyImage(path.join(folder, `stage-${String(stages.size)}`));
      stages.set(/\sAS\s+(\S+)/i.exec(text)?.[1] ?? String(stages.size), image.root);
      continue;
    }
    if (!image) throw new Error(`${name} stands before FROM`);
    perform(image, { name, flags, text }, { context, stages, env });
  }
  if (!image) throw new Error('the Dockerfile has no stage');
  return image;
}

function emptyImage(root: string): Image {
  mkdirSync(root, { recursive: true });
  return { root, workdir: '/', env: {}, user: { uid: 0, gid: 0 }, ports: [], entrypoint: [], cmd: [], owned: [] };
}

interface Surroundings {
  context: string;
  stages: ReadonlyMap<string, string>;
  env: Record<string, string>;
}

function perform(image: Image, { name, flags, text }: Instruction, surroundings: Surroundings): void {
  switch (name) {
    case 'WORKDIR':
      image.workdir = path.posix.resolve(image.workdir, text);
      mkdirSync(inside(image, '.'), { recursive: true });
      return;
    case 'COPY':
      return copy(image, flags, text.split(/\s+/), surroundings);
    case 'RUN':
      // All that the lockfile names is what this checkout has; only what goes into the image is installed anew.
      if (text === everything)
        return symlinkSync(path.join(surroundings.context, 'node_modules'), inside(image, 'node_modules'));
      return run(image, text, surroundings.env);
    case 'ENV': {
      const [, key = '', value = ''] = /^(\w+)=(\S*)$/.exec(text) ?? [];
      image.env[key] = value;
      return;
    }
    case 'USER': {
      const [uid = 0, gid = uid] = text.split(':').map(Number);
      image.user = { uid, gid };
      return;
    }
    case 'EXPOSE':
      image.ports = text.split(/\s+/).map(Number);
      return;
    case 'ENTRYPOINT':
      image.entrypoint = JSON.parse(text) as string[];
      return;
    case 'CMD':
      image.cmd = JSON.parse(text) as string[];
      return;
    case 'LABEL':
      return;
    default:
      throw new Error(`${name} is no instruction that this test performs; teach it, or do without`);
  }
}

/** A path of the image, below the folder that stands for its root. */
function inside({ root, workdir }: Image, at: string): string {
  return path.join(root, path.posix.resolve(workdir, at));
}

/** As the engine does: a folder's content is copied, a file by its name when the target ends in a slash. */
function copy(image: Image, flags: Record<string, string>, words: string[], { context, stages }: Surroundings): void {
  const sources = words.slice(0, -1);
  const target = words.at(-1) ?? '.';
  for (const source of sources) {
    const stage = flags['from'] === undefined ? undefined : stages.get(flags['from']);
    if (flags['from'] !== undefined && stage === undefined) throw new Error(`no stage is called ${flags['from']}`);
    const from = stage === undefined ? path.join(context, source) : path.join(stage, source);
    if (!existsSync(from)) throw new Error(`COPY: ${source} does not exist`);
    const to = inside(image, target);
    const into = statSync(from).isFile() && target.endsWith('/') ? path.join(to, path.basename(from)) : to;
    const isIgnored = stage === undefined ? ignoredOf(context) : () => false;
    cpSync(from, into, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (file) => !isIgnored(path.relative(context, file)),
    });
  }
  if (flags['chown'] !== undefined) {
    const [uid = 0, gid = uid] = flags['chown'].split(':').map(Number);
    image.owned.push({ at: path.posix.resolve(image.workdir, target), uid, gid });
  }
}

/** .dockerignore as ours is written: names at the root, `name*`, and `**` before a name or an ending. */
function ignoredOf(context: string): (relative: string) => boolean {
  const patterns = readFileSync(path.join(context, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, deep, name = ''] = /^(\*\*\/)?([\w.*-]+)$/.exec(line) ?? [];
      if (name === '') throw new Error(`.dockerignore: ${line} is no pattern that this test knows`);
      const part = name.replaceAll('.', '\\.').replaceAll('*', '[^/]*');
      return new RegExp(`^${deep === undefined ? '' : '(?:.*/)?'}${part}(?:/|$)`);
    });
  return (relative) => patterns.some((pattern) => pattern.test(relative));
}

function run(image: Image, command: string, env: Record<string, string>): void {
  // An absolute path would be this machine's.
  if (/\s\/\w/.test(command)) throw new Error(`RUN ${command}: write its paths relative to WORKDIR`);
  const { status, stderr, stdout } = spawnSync('sh', ['-ec', command], {
    cwd: inside(image, '.'),
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env, ...image.env },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(`RUN ${command} ended with ${String(status)}:\n${stdout}${stderr}`);
}
