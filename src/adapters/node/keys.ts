/**
 * The two secret files of a data directory: the node's identity and the swarm's secret.
 *
 * A secret that others can read, or that is damaged, is an error for a person to look at: silently making a new
 * identity would make the machine a stranger to its own data.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { fromBase64Url, fromUtf8, toBase64Url, utf8 } from '../../kernel/codec.ts';
import { SkeinError } from '../../kernel/errors.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { Signer } from '../../kernel/ports.ts';
import { nodeIdFromPublicKey } from '../../mesh/identity/peer-id.ts';
import { crashPoint } from './crash-points.ts';
import { signerFromSeed } from './cryptography.ts';
import { SWARM_FILE } from './data-directory.ts';
import { makeDirectory } from './make-directory.ts';

export interface Identity {
  readonly nodeId: NodeId;
  readonly signer: Signer;
  /** The private key itself, 32 bytes; for the adapter that speaks Noise with it, and nobody else. */
  readonly seed: Uint8Array;
  /** True where this call made it. */
  readonly created: boolean;
}

export const IDENTITY_FILE = 'identity.key';
export const SECRET_FILE = 'swarm.secret';

const FORMAT = 'skein-ed25519-1';
const SEED_BYTES = 32;
const SECRET_BYTES = 24;
/** Far more than either file has. */
const FILE_BYTES = 4_096;
const HAS_MODES = process.platform !== 'win32';

/**
 * The node's key, made and written (mode 0600) where there is none. Throws `SkeinError`: `DENIED` where others may
 * read the file or write the directory, `INTERNAL` where the file is damaged or the disk refuses.
 */
export function loadIdentity(dataDirectory: string): Identity {
  prepareDirectory(dataDirectory);
  const path = join(dataDirectory, IDENTITY_FILE);
  const { text, created } = readOrCreate(path, () => {
    const seed = new Uint8Array(randomBytes(SEED_BYTES));
    return `${FORMAT} ${toBase64Url(seed)} ${nodeIdFromPublicKey(signerFromSeed(seed).publicKey)}\n`;
  });
  const [format, encoded = '', writtenId] = text.trim().split(' ');
  const seed = fromBase64Url(encoded);
  if (format === FORMAT && seed?.length === SEED_BYTES) {
    const signer = signerFromSeed(seed);
    const nodeId = nodeIdFromPublicKey(signer.publicKey);
    if (nodeId === writtenId) return { nodeId, signer, seed, created };
  }
  throw SkeinError.of(
    'INTERNAL',
    `The identity file ${path} is damaged.`,
    `Restore it from a backup. Without one, move it away (mv ${path} ${path}.damaged) and start again: the node then joins the swarm as a new one, and its old boards and budget rights stay with the old identity.`,
  );
}

/**
 * The swarm's secret, made and written (mode 0600) where there is none. Throws `SkeinError` as `loadIdentity` does, and
 * `CONFLICT` where the directory belongs to a swarm whose secret was given from outside, and now is not;
 * whether the text is long enough is for `swarmFromSecret` to say.
 */
export function loadSwarmSecret(dataDirectory: string): {
  readonly secret: string;
  readonly created: boolean;
} {
  prepareDirectory(dataDirectory);
  const path = join(dataDirectory, SECRET_FILE);
  const { text, created } = readOrCreate(path, () => {
    // A new secret would be that of another swarm, and stay there.
    if (existsSync(join(dataDirectory, SWARM_FILE))) throw secretMissing(dataDirectory);
    return `${toBase64Url(randomBytes(SECRET_BYTES))}\n`;
  });
  const secret = text.trim();
  if (secret !== '') return { secret, created };
  throw SkeinError.of(
    'INTERNAL',
    `The swarm secret file ${path} is empty.`,
    `Write the swarm's secret into it again (any other member has it in its own ${SECRET_FILE}).`,
  );
}

function secretMissing(dataDirectory: string): SkeinError {
  return SkeinError.of(
    'CONFLICT',
    `The data directory ${dataDirectory} belongs to a swarm already, and its secret is not given.`,
    `Start with SKEIN_SWARM_SECRET as at the first start, or write the secret into ${join(dataDirectory, SECRET_FILE)} (mode 600) to keep it there; or choose another directory with --data DIR.`,
    { details: { directory: dataDirectory } },
  );
}

function prepareDirectory(directory: string): void {
  try {
    makeDirectory(directory, 0o700);
    const { mode } = statSync(directory);
    if (!HAS_MODES || (mode & 0o022) === 0) return;
  } catch (cause) {
    throw unusable('data directory', directory, cause);
  }
  throw SkeinError.of(
    'DENIED',
    `Other users may write to the data directory ${directory}, and so put another key in the place of this node's.`,
    `Run: chmod 700 ${directory}`,
  );
}

function readOrCreate(path: string, make: () => string): { text: string; created: boolean } {
  let text = readSecret(path);
  let created = false;
  if (text === undefined) {
    created = createSecret(path, make());
    text = readSecret(path);
  }
  if (text !== undefined) return { text, created };
  throw SkeinError.of(
    'INTERNAL',
    `The file ${path} vanished while it was read.`,
    'See what else removes files from the data directory, then start again.',
  );
}

/** The content, or `undefined` where there is no such file. */
function readSecret(path: string): string | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable('file', path, cause);
  }
  try {
    const { mode, size } = fstatSync(file);
    if (HAS_MODES && (mode & 0o077) !== 0) {
      throw SkeinError.of(
        'DENIED',
        `Other users may read the secret file ${path} (mode ${(mode & 0o777).toString(8).padStart(4, '0')}).`,
        `Run: chmod 600 ${path} (and if somebody else may have read it, replace the secret).`,
      );
    }
    return size > FILE_BYTES ? '' : (fromUtf8(readFileSync(file)) ?? '');
  } catch (cause) {
    throw cause instanceof SkeinError ? cause : unusable('file', path, cause);
  } finally {
    closeSync(file);
  }
}

/**
 * Writes the whole file under another name, forces it to disk, and then gives it its own name in one step. False
 * where another process was first; its file stands.
 */
function createSecret(path: string, text: string): boolean {
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`;
  crashPoint('keys.before-write');
  try {
    const file = openSync(temporary, 'wx', 0o600);
    try {
      writeSync(file, utf8(text));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    crashPoint('keys.after-write');
    return claim(temporary, path);
  } catch (cause) {
    throw unusable('file', path, cause);
  } finally {
    rmSync(temporary, { force: true });
  }
}

function claim(temporary: string, path: string): boolean {
  try {
    // Unlike a rename, a link never takes the place of a file that is there.
    linkSync(temporary, path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw cause;
    renameSync(temporary, path);
  }
  crashPoint('keys.after-rename');
  syncParent(path);
  return true;
}

function syncParent(path: string): void {
  if (!HAS_MODES) return;
  const directory = openSync(join(path, '..'), 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function unusable(what: string, path: string, cause: unknown): SkeinError {
  const { code = 'unknown', message = String(cause) } = cause as NodeJS.ErrnoException;
  const hints: Record<string, string> = {
    EACCES: `Give this user the right to use it (ls -ld ${path}), or choose another with --data DIR.`,
    ENOSPC: 'Free space on that disk, then start again.',
    EDQUOT: 'Free space within your quota, then start again.',
    EROFS: 'Choose a data directory on a disk that can be written: --data DIR.',
    ENOENT: 'Nothing can be made there: choose another with --data DIR.',
    ENOTDIR: 'Part of the path is a file, not a directory: choose another with --data DIR.',
    EEXIST: 'There is a file where the directory should be: move it away, or choose another with --data DIR.',
  };
  const hint = hints[code] ?? 'Mend what the message says, or choose another data directory with --data DIR.';
  const denied = code === 'EACCES' || code === 'EPERM';
  return SkeinError.of(denied ? 'DENIED' : 'INTERNAL', `Cannot use the ${what} ${path}: ${message}`, hint);
}
