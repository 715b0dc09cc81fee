/** Defaults that depend on the machine or on other settings, and what settings must hold together. */
import { join, relative, resolve } from 'node:path';
import type { Settler } from './settle.ts';

export function computeDefaults(settler: Settler, machine: string): void {
  const { values, origins } = settler;
  const setDefault = (path: string, value: unknown) => {
    if (values.has(path)) return;
    values.set(path, value);
    origins.set(path, 'default');
  };
  setDefault('node.name', nameFrom(machine));
  const roles = (values.get('node.roles') ?? []) as readonly string[];
  setDefault('http.host', roles.includes('gateway') && hasKeys(settler) ? '0.0.0.0' : '127.0.0.1');
  const data = values.get('node.data');
  if (typeof data === 'string') values.set('node.data', resolve(data));
}

function nameFrom(machine: string): string {
  const name = machine
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 63);
  return name === '' ? 'node' : name;
}

function hasKeys(settler: Settler): boolean {
  return ((settler.values.get('guard.keys') ?? []) as readonly unknown[]).length > 0;
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function checkEtcd(settler: Settler): void {
  const { values, refused } = settler;
  const endpoints = values.get('quorum.etcd.endpoints') as readonly string[] | undefined;
  if (values.get('quorum.engine') !== 'etcd' || refused.has('quorum.etcd.endpoints')) return;
  if (endpoints === undefined || endpoints.length === 0)
    report(settler, 'quorum.engine', 'is etcd, which needs quorum.etcd.endpoints');
  const has = (name: string) => values.get(`quorum.etcd.${name}`) !== undefined;
  if (has('user') !== has('password'))
    report(settler, `quorum.etcd.${has('user') ? 'user' : 'password'}`, 'needs a user and a password');
  if (has('tls.certificate') !== has('tls.key'))
    report(
      settler,
      `quorum.etcd.tls.${has('tls.key') ? 'key' : 'certificate'}`,
      'needs a certificate and its key',
    );
}

/** Longest path of a Unix socket: `sun_path` less its closing NUL. */
const SOCKET_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

export function checkTogether(settler: Settler): void {
  checkKeyForHost(settler);
  checkPortsDiffer(settler);
  checkSocketPath(settler);
  checkEtcd(settler);
}

function report({ places, problems }: Settler, path: string, message: string): void {
  const place = places.get(path);
  problems.push(place === undefined ? { place: path, message } : place([], message));
}

function checkKeyForHost(settler: Settler): void {
  const { values, refused } = settler;
  const host = values.get('http.host');
  if (values.get('http.enabled') !== true || typeof host !== 'string' || isLoopback(host)) return;
  if (hasKeys(settler) || refused.has('guard.keys') || refused.has('http.host')) return;
  report(
    settler,
    'http.host',
    `is ${host}, which other machines can reach, but no API key is configured: add one under guard.keys in the configuration file, or listen on 127.0.0.1`,
  );
}

function checkPortsDiffer(settler: Settler): void {
  const { values } = settler;
  const served = ['mesh.port', 'mesh.wsPort', ...(values.get('http.enabled') === true ? ['http.port'] : [])];
  const fixed = served.filter((path) => values.get(path) !== 0 && !settler.refused.has(path));
  for (const [index, path] of fixed.entries()) {
    const other = fixed.slice(0, index).find((earlier) => values.get(earlier) === values.get(path));
    if (other !== undefined)
      report(settler, path, `must differ from ${other}, but both are ${String(values.get(path))}`);
  }
}

function checkSocketPath(settler: Settler): void {
  const data = settler.values.get('node.data');
  if (typeof data !== 'string') return;
  // Both ends fall back to the relative path.
  const paths = [data, relative(process.cwd(), data)].map((path) =>
    Buffer.byteLength(join(path, 'control.sock')),
  );
  const excess = Math.min(...paths) - SOCKET_PATH_BYTES;
  if (excess > 0)
    report(settler, 'node.data', `is ${excess} bytes too long for the socket in it: choose a shorter path`);
}

export function warningsOf(settler: Settler): string[] {
  const { values } = settler;
  const warnings: string[] = [];
  const roles = (values.get('node.roles') ?? []) as readonly string[];
  if (roles.includes('gateway') && isLoopback(String(values.get('http.host'))))
    warnings.push(
      'This gateway serves HTTP on loopback only: set guard.keys to let it serve other machines.',
    );
  return warnings;
}
