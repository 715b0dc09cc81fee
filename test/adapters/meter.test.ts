import { describe, expect, it } from 'vitest';
import { collectProcess, createMeter } from '../../src/adapters/node/meter.ts';
import { limits } from '../../src/kernel/limits.ts';

describe('meter', () => {
  it('renders counters and gauges as Prometheus text, sorted', () => {
    const meter = createMeter();
    meter.count('board.refused');
    meter.count('board.refused', 2);
    meter.gauge('links', 4);
    meter.describe('links', 'Peers connected now.\nSecond line.');
    expect(meter.render()).toBe(
      '# HELP skein_board_refused_total board.refused\n# TYPE skein_board_refused_total counter\nskein_board_refused_total 3\n' +
        '# HELP skein_links Peers connected now.\\nSecond line.\n# TYPE skein_links gauge\nskein_links 4\n',
    );
    expect(meter.value('counter', 'board.refused')).toBe(3);
  });

  it('every line is well-formed whatever the name', () => {
    const meter = createMeter();
    for (const name of ['a-b.c d', 'camelCase.nameMs', '__x__', 'bytes.total', 'é\n{}"']) meter.count(name);
    for (const line of meter.render().trimEnd().split('\n'))
      expect(line).toMatch(/^(# (HELP|TYPE) )?[a-zA-Z_:][a-zA-Z0-9_:]* .+$/);
    expect(meter.render()).toContain('skein_camel_case_name_ms_total 1');
    expect(meter.render()).toContain('skein_bytes_total 1');
  });

  it('two names of one metric are shown once', () => {
    const meter = createMeter();
    meter.count('a.b', 1);
    meter.count('a_b', 2);
    expect(meter.render().match(/^skein_a_b_total .*$/gm)).toEqual(['skein_a_b_total 3']);
  });

  it('a counter takes no negative or infinite amount', () => {
    const meter = createMeter();
    for (const amount of [1, -1, Number.NaN, Number.POSITIVE_INFINITY]) meter.count('n', amount);
    expect(meter.value('counter', 'n')).toBe(1);
  });

  it(`keeps at most ${limits.metrics} names`, () => {
    const meter = createMeter();
    for (let index = 0; index < limits.metrics + 10; index++) meter.count(`n${index}`);
    expect(meter.render().split('\n').length).toBe(3 * limits.metrics + 1);
  });

  it('collects the process when it is rendered', () => {
    const meter = createMeter();
    collectProcess(meter);
    expect(meter.render()).toMatch(/^skein_process_resident_memory_bytes \d{7,}$/m);
  });
});
