import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeClock } from '../../src/adapters/node/clock.ts';
import { hkdf, nodeCryptography, signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import { SWARM_FILE } from '../../src/adapters/node/data-directory.ts';
import { nodeEntropy } from '../../src/adapters/node/entropy.ts';
import { IDENTITY_FILE, loadIdentity, loadSwarmSecret, SECRET_FILE } from '../../src/adapters/node/keys.ts';
import { utf8 } from '../../src/kernel/codec.ts';
import { SkeinError } from '../../src/kernel/errors.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';

const unhex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'skein-keys-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function refusal(work: () => unknown): SkeinError {
  try {
    work();
  } catch (error) {
    if (error instanceof SkeinError) return error;
    throw error;
  }
  throw new Error('not refused');
}

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe('key files', () => {
  it('the first load makes an identity, later ones find it', () => {
    const data = join(directory, 'a', 'b');
    const first = loadIdentity(data);
    const second = loadIdentity(data);
    expect([first.created, second.created]).toEqual([true, false]);
    expect(second.nodeId).toBe(first.nodeId);
    expect(hex(second.seed)).toBe(hex(first.seed));
    expect(nodeIdFromPublicKey(second.signer.publicKey)).toBe(first.nodeId);
    expect([mode(data), mode(join(data, IDENTITY_FILE))]).toEqual(['700', '600']);
    expect(readdirSync(data)).toEqual([IDENTITY_FILE]);
  });

  it('the modes hold whatever the umask, and two data directories have two identities', () => {
    const umask = process.umask(0);
    try {
      const [one, two] = [loadIdentity(join(directory, 'one')), loadIdentity(join(directory, 'two'))];
      expect(one.nodeId).not.toBe(two.nodeId);
      expect(mode(join(directory, 'one', IDENTITY_FILE))).toBe('600');
      expect(mode(join(directory, 'one'))).toBe('700');
    } finally {
      process.umask(umask);
    }
  });

  it('the swarm secret is made once, is long, and is found again', () => {
    const first = loadSwarmSecret(directory);
    expect(first).toMatchObject({ created: true });
    expect(first.secret.length).toBeGreaterThanOrEqual(32);
    expect(loadSwarmSecret(directory)).toEqual({ secret: first.secret, created: false });
    expect(mode(join(directory, SECRET_FILE))).toBe('600');
    expect(loadSwarmSecret(join(directory, 'other')).secret).not.toBe(first.secret);
  });

  it('a secret that a person wrote is taken without its newline', () => {
    writeFileSync(join(directory, SECRET_FILE), 'correct horse battery\n', { mode: 0o600 });
    expect(loadSwarmSecret(directory)).toEqual({ secret: 'correct horse battery', created: false });
  });

  it.each([0o640, 0o604, 0o644, 0o660, 0o601])(
    'a secret file of mode %o is refused with the chmod to run',
    (bits) => {
      for (const [name, load] of [
        [IDENTITY_FILE, loadIdentity],
        [SECRET_FILE, loadSwarmSecret],
      ] as const) {
        load(directory);
        const path = join(directory, name);
        const before = readFileSync(path, 'utf8');
        chmodSync(path, bits);
        const error = refusal(() => load(directory));
        expect(error.body.code).toBe('DENIED');
        expect(error.body.hint).toContain(`chmod 600 ${path}`);
        expect(JSON.stringify(error.body)).not.toContain(before.trim().split(' ').at(1) ?? before.trim());
        chmodSync(path, 0o600);
        expect(load(directory)).toMatchObject({ created: false });
      }
    },
  );

  it('a data directory that others may write is refused with the chmod to run', () => {
    chmodSync(directory, 0o775);
    const error = refusal(() => loadIdentity(directory));
    expect(error.body).toMatchObject({ code: 'DENIED', hint: `Run: chmod 700 ${directory}` });
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each([
    ['empty', () => ''],
    ['cut short', (text: string) => text.slice(0, 40)],
    [
      'with a letter changed',
      (text: string) => text.replace(/(?<= )./, (letter) => (letter === 'A' ? 'B' : 'A')),
    ],
    [
      'with the id of another',
      (text: string) => text.replace(/12D3KooW.*/, '12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7'),
    ],
    ['binary', () => '\u0000\u0001\u0002'],
    ['huge', () => 'x'.repeat(100_000)],
  ])('an identity file that is %s is an error, and is never replaced', (_what, damage) => {
    loadIdentity(directory);
    const path = join(directory, IDENTITY_FILE);
    const damaged = damage(readFileSync(path, 'utf8'));
    writeFileSync(path, damaged);
    const error = refusal(() => loadIdentity(directory));
    expect(error.message).toContain(path);
    expect(error.body.hint).toMatch(/backup/);
    expect(readFileSync(path, 'utf8')).toBe(damaged);
  });

  it('a directory of a swarm whose secret was given from outside gets no secret of its own', () => {
    writeFileSync(join(directory, SWARM_FILE), '0123456789abcdef\n', { mode: 0o600 });
    const error = refusal(() => loadSwarmSecret(directory));
    expect(error.body).toMatchObject({ code: 'CONFLICT', details: { directory } });
    expect(error.body.hint).toMatch(/SKEIN_SWARM_SECRET/);
    expect(readdirSync(directory)).toEqual([SWARM_FILE]);
  });

  it('an empty secret file is an error, not a new swarm', () => {
    writeFileSync(join(directory, SECRET_FILE), '\n', { mode: 0o600 });
    expect(refusal(() => loadSwarmSecret(directory)).message).toMatch(/empty/);
  });

  it('a data directory that is a file, or a key that is a directory, is an error that says so', () => {
    writeFileSync(join(directory, 'file'), '');
    expect(refusal(() => loadIdentity(join(directory, 'file'))).body.hint).toMatch(/--data DIR/);
    expect(refusal(() => loadIdentity(join(directory, 'file', 'below'))).body.hint).toMatch(/--data DIR/);
    mkdirSync(join(directory, IDENTITY_FILE), { mode: 0o700 });
    expect(refusal(() => loadIdentity(directory)).body.message).toContain(IDENTITY_FILE);
  });

  it('a link to nowhere in the place of the key is not followed into a new one', () => {
    symlinkSync(join(directory, 'elsewhere'), join(directory, IDENTITY_FILE));
    refusal(() => loadIdentity(directory));
    expect(readdirSync(directory)).toEqual([IDENTITY_FILE]);
  });

  it('of processes that start at the same moment all take the same identity', async () => {
    const script = `import { loadIdentity } from ${JSON.stringify(join(import.meta.dirname, '../../src/adapters/node/keys.ts'))};
      process.stdout.write(loadIdentity(${JSON.stringify(directory)}).nodeId);`;
    const runs = Array.from({ length: 4 }, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let said = '';
      child.stdout.on('data', (data) => {
        said += data;
      });
      await once(child, 'close');
      return said;
    });
    const ids = new Set(await Promise.all(runs));
    expect(ids).toEqual(new Set([loadIdentity(directory).nodeId]));
  });
});

describe('cryptography', () => {
  // RFC 8032, section 7.1, test 2.
  const seed = unhex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb');
  const publicKey = unhex('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c');
  const signature = unhex(
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  );
  const message = unhex('72');

  it('signs and verifies the example of RFC 8032', () => {
    const signer = signerFromSeed(seed);
    expect(hex(signer.publicKey)).toBe(hex(publicKey));
    expect(hex(signer.sign(message))).toBe(hex(signature));
    expect(nodeCryptography.verify(publicKey, message, signature)).toBe(true);
    expect(nodeCryptography.verifyNode(nodeIdFromPublicKey(publicKey), message, signature)).toBe(true);
  });

  it('derives the bytes of RFC 5869, appendix A.3', () => {
    expect(hex(hkdf(new Uint8Array(22).fill(0x0b), '', 42))).toBe(
      '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    );
  });

  it('hashes as FIPS 180-4 says', () => {
    expect(hex(nodeCryptography.hash(utf8('abc')))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
  });

  it.each([
    ['another message', publicKey, unhex('73'), signature],
    ['another signature', publicKey, message, new Uint8Array(64)],
    ['a signature one byte short', publicKey, message, signature.subarray(1)],
    [
      'a signature with S beyond the order (S33)',
      publicKey,
      message,
      Uint8Array.from(signature, (byte, at) => (at === 63 ? byte | 0xf0 : byte)),
    ],
    ['no key', new Uint8Array(0), message, signature],
    ['a key one byte long', publicKey.subarray(1), message, signature],
    ['a key that is no point', new Uint8Array(32).fill(0xff), message, signature],
  ])('refuses %s without throwing', (_what, key, text, sig) => {
    expect(nodeCryptography.verify(key, text, sig)).toBe(false);
  });

  it('refuses ids that hold no key, and many of them do not push out memory', () => {
    expect(nodeCryptography.verifyNode(`12D3KooW${'z'.repeat(44)}` as NodeId, message, signature)).toBe(
      false,
    );
    for (let count = 0; count < 5_000; count++) {
      const key = new Uint8Array(32);
      new DataView(key.buffer).setUint32(0, count);
      nodeCryptography.verify(key, message, signature);
    }
    expect(nodeCryptography.verify(publicKey, message, signature)).toBe(true);
  });
});

describe('clock and entropy', () => {
  it('calls back once and not too early, and not at all when cancelled', async () => {
    const clock = nodeClock();
    const told: number[] = [];
    const dueMs = clock.now().monoMs + 20;
    clock.callAt(dueMs - 10, () => told.push(-1))();
    await new Promise<void>((resolve) => {
      const awake = setTimeout(() => resolve(), 5_000);
      clock.callAt(dueMs, () => {
        told.push(clock.now().monoMs);
        clearTimeout(awake);
        resolve();
      });
    });
    expect(told).toHaveLength(1);
    expect(told[0]).toBeGreaterThanOrEqual(dueMs);
  });

  it('a date in the past is due at once, one beyond 25 days does not fire now', async () => {
    const clock = nodeClock();
    const told: string[] = [];
    const cancel = clock.callAt(clock.now().monoMs + 2 ** 32, () => told.push('far'));
    await new Promise<void>((resolve) => {
      const awake = setTimeout(resolve, 5_000);
      clock.callAt(0, () => {
        told.push('past');
        clearTimeout(awake);
        resolve();
      });
    });
    cancel();
    expect(told).toEqual(['past']);
  });

  it('entropy gives as many bytes as asked, different each time', () => {
    const entropy = nodeEntropy();
    expect(entropy.bytes(32)).toHaveLength(32);
    expect(hex(entropy.bytes(32))).not.toBe(hex(entropy.bytes(32)));
  });
});
