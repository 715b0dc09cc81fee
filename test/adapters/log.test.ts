import { describe, expect, it } from 'vitest';
import { createLogger, type LogOptions } from '../../src/adapters/node/log.ts';

function logged(options: LogOptions = {}) {
  const lines: string[] = [];
  const logger = createLogger({ readable: false, ...options, write: (line) => lines.push(line) });
  return { logger, lines };
}

const CANARY = 'canary-5f3a91c07e';

describe('log', () => {
  it('writes one JSON object a line with time, level, name and fields', () => {
    const { logger, lines } = logged({ base: { node: 'alpha' } });
    logger.log('warn', 'board.refused', { peer: 'p', count: 3 });
    expect(lines.length).toBe(1);
    const { time, ...rest } = JSON.parse(lines[0] as string);
    expect(new Date(time).getTime()).toBeGreaterThan(0);
    expect(rest).toEqual({ level: 'warn', node: 'alpha', peer: 'p', count: 3, name: 'board.refused' });
  });

  it('writes nothing below its level, which can be changed', () => {
    const { logger, lines } = logged({ level: 'warn' });
    logger.log('info', 'a', {});
    logger.setLevel('debug');
    logger.log('debug', 'b', {});
    expect(lines.map((line) => JSON.parse(line).name)).toEqual(['b']);
  });

  for (const readable of [false, true]) {
    it(`no planted secret comes through, by field name or by text (readable=${readable}) (S26)`, () => {
      const { logger, lines } = logged({ readable });
      logger.log('error', 'leak', {
        token: CANARY,
        deep: { list: [{ apiKey: CANARY, privateKey: CANARY, password: CANARY }] },
        headers: { authorization: `Bearer ${CANARY}`, Cookie: CANARY },
        swarmSecret: CANARY,
        seed: new Uint8Array(32),
      });
      logger.hide(CANARY);
      logger.log('error', `name ${'x'}`, {
        text: `before ${CANARY} after`,
        error: new Error(`failed with ${CANARY}`),
      });
      expect(lines.join('')).not.toContain(CANARY);
      expect(lines.join('')).toContain('before [removed] after');
    });

    it(`hostile text makes no second line and no control sequence (readable=${readable}) (S24)`, () => {
      const { logger, lines } = logged({ readable });
      logger.log('info', 'peer.said', {
        text: 'a\nfake line\u001b[2J\u202eright to left\u2028end',
        'k\n\u001b': 1,
      });
      expect(lines.length).toBe(1);
      expect((lines[0] as string).trimEnd()).not.toContain('\n');
      expect(lines[0]).not.toContain('\u001b');
    });
  }

  it('amounts are not secrets: tokens and fencing tokens are shown', () => {
    const { logger, lines } = logged();
    logger.log('info', 'budget', { tokens: 500, fencingToken: 7, key: 'plan' });
    expect(JSON.parse(lines[0] as string)).toMatchObject({ tokens: 500, fencingToken: 7, key: 'plan' });
  });

  it('huge, deep, cyclic and binary fields are cut short', () => {
    const { logger, lines } = logged();
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    logger.log('info', 'big', {
      text: 'x'.repeat(1_000_000),
      cyclic,
      bytes: new Uint8Array(9),
      many: Array(9_999).fill(1),
    });
    expect((lines[0] as string).length).toBeLessThan(4_000);
    expect(lines[0]).toContain('[9 bytes]');
  });

  it('a readable line has the time, the level, the name and the fields', () => {
    const { logger, lines } = logged({ readable: true });
    logger.log('info', 'mesh.up', { peer: 'alpha', why: 'it called' });
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} info {2}mesh\.up peer=alpha why="it called"\n$/);
  });
});
