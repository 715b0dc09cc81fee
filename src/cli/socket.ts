import { relative, resolve } from 'node:path';

/**
 * A socket of a data directory as this process can name it: relative where that is shorter, since the system
 * cuts the path of a socket at about a hundred bytes.
 */
export function socketPath(data: string, name: 'control.sock' | 'mcp.sock'): string {
  const absolute = resolve(data, name);
  const short = relative(process.cwd(), absolute);
  return Buffer.byteLength(short) < Buffer.byteLength(absolute) ? short : absolute;
}
