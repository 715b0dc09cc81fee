import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isLoopback, parseAddress } from '../../../src/mesh/discovery/address.ts';
import { nodeId } from '../membership/cluster.ts';

const ID = nodeId(1);

describe('addresses', () => {
  it.each([
    ['/ip4/192.168.1.20/tcp/7331', 'tcp', '192.168.1.20', 7331],
    ['/ip4/10.0.0.1/tcp/1/', 'tcp', '10.0.0.1', 1],
    ['/ip6/fd00::1:2/tcp/65535/ws', 'ws', 'fd00::1:2', 65535],
    ['/ip6/::ffff:1.2.3.4/tcp/80', 'tcp', '::ffff:1.2.3.4', 80],
    ['/dns4/node.example.org/tcp/443/tls/ws', 'wss', 'node.example.org', 443],
    ['/dns/localhost/tcp/7331/wss', 'wss', 'localhost', 7331],
    [`/dns6/a-b_c/tcp/7331/ws/p2p/${ID}`, 'ws', 'a-b_c', 7331],
  ])('reads %s', (text, transport, host, port) => {
    expect(parseAddress(text)).toMatchObject({ ok: true, value: { transport, host, port } });
  });

  it('tells the endpoint from the node behind it', () => {
    const parsed = parseAddress(`/ip4/10.0.0.1/tcp/7331/p2p/${ID}`);
    expect(parsed).toMatchObject({ ok: true, value: { endpoint: '/ip4/10.0.0.1/tcp/7331', nodeId: ID } });
  });

  it.each([
    ['10.0.0.1:7331', '/ip4/10.0.0.1/tcp/7331'],
    ['http://node.example.org:80/', '/dns4/node.example.org/tcp/80'],
    ['[fd00::1]:7331', '/ip6/fd00::1/tcp/7331'],
  ])('suggests the multiaddr for %s', (text, multiaddr) => {
    expect(parseAddress(text)).toMatchObject({
      ok: false,
      error: { code: 'INVALID_ARGUMENT', hint: expect.stringContaining(multiaddr) },
    });
  });

  it.each([
    '',
    '/',
    '/ip4/300.0.0.1/tcp/1',
    '/ip4/010.0.0.1/tcp/1',
    '/ip4/1.2.3.4',
    '/ip4/1.2.3.4/udp/1',
    '/ip4/1.2.3.4/tcp/0',
    '/ip4/1.2.3.4/tcp/65536',
    '/ip4/1.2.3.4/tcp/7331/quic',
    '/ip4/1.2.3.4/tcp/7331/constructor',
    '/ip4/1.2.3.4/tcp/7331/p2p/nobody',
    `/ip4/1.2.3.4/tcp/7331/p2p/${ID}/p2p-circuit`,
    '/ip6/1::2::3/tcp/1',
    '/ip6/1:2:3:4:5:6:7/tcp/1',
    '/ip6/fe80::1%eth0/tcp/1',
    '/dns4/-bad/tcp/1',
    '/dns4//tcp/1',
    '/unix/tmp/socket',
    `/dns4/${'a'.repeat(600)}/tcp/1`,
    7331,
    undefined,
    null,
  ])('refuses %j with a hint', (text) => {
    const parsed = parseAddress(text);
    expect(parsed.ok).toBe(false);
    if (!parsed.ok) expect(parsed.error.hint).toMatch(/\/tcp\//);
  });

  it('takes port 0 only to listen on', () => {
    expect(parseAddress('/ip4/0.0.0.0/tcp/0', 'listen').ok).toBe(true);
    expect(parseAddress('/ip4/0.0.0.0/tcp/0').ok).toBe(false);
  });

  it('never throws, and what it accepts reads the same again', () => {
    const part = fc.constantFrom(
      'ip4',
      'ip6',
      'dns4',
      'tcp',
      'ws',
      'p2p',
      '1.2.3.4',
      '::1',
      '80',
      ID,
      '',
      'x',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(part).map((parts) => `/${parts.join('/')}`),
    );
    fc.assert(
      fc.property(text, (candidate) => {
        const parsed = parseAddress(candidate);
        if (parsed.ok) expect(parseAddress(parsed.value.text)).toEqual(parsed);
      }),
    );
  });

  it('knows loopback', () => {
    const loopback = (text: string) => {
      const parsed = parseAddress(text);
      return parsed.ok && isLoopback(parsed.value);
    };
    expect(loopback('/ip4/127.0.1.1/tcp/1')).toBe(true);
    expect(loopback('/ip6/::1/tcp/1')).toBe(true);
    expect(loopback('/ip4/10.0.0.1/tcp/1')).toBe(false);
  });
});
