import { readFileSync } from 'node:fs';
import type { EtcdStore } from '../adapters/etcd/store.ts';
import { SkeinError } from '../kernel/errors.ts';
import type { Config } from './config/options.ts';

/** The quorum store in etcd where the configuration says so; it connects when it is first used. */
export async function openEtcd({ quorum: { engine, etcd } }: Config): Promise<EtcdStore | undefined> {
  if (engine !== 'etcd') return undefined;
  // gRPC takes its time to load, and most nodes need none.
  const { etcdStore } = await import('../adapters/etcd/store.ts');
  const { endpoints, prefix, user, password, tls } = etcd;
  const certificates = {
    ...fileOf('ca', tls.ca),
    ...fileOf('certificate', tls.certificate),
    ...fileOf('key', tls.key),
  };
  return etcdStore({
    endpoints,
    prefix,
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...(Object.keys(certificates).length === 0 ? {} : { tls: certificates }),
  });
}

function fileOf(name: string, path: string | undefined): Record<string, Buffer> {
  if (path === undefined) return {};
  try {
    return { [name]: readFileSync(path) };
  } catch (error) {
    throw SkeinError.of(
      'INVALID_ARGUMENT',
      `quorum.etcd.tls.${name}: ${path} cannot be read: ${(error as Error).message}.`,
      'Name a file (PEM) that this user may read.',
    );
  }
}
