/**
 * The libp2p node under the wire: which parts of libp2p there are, and with which bounds.
 *
 * Left out on purpose: identify, ping, DHT, relays, and the connection monitor, which cuts a healthy link when one
 * ping is late. Finding peers and judging whether they live is done above the wire.
 */
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { webSockets } from '@libp2p/websockets';
import { yamux } from '@libp2p/yamux';
import { createLibp2p, type Libp2p, type Libp2pOptions } from 'libp2p';
import { SkeinError } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { type MessageStream, WINDOW_BYTES } from './muxer-guard.ts';
import { noiseCrypto } from './noise-crypto.ts';
import { shortenMuxer, shortenRaw, shortenSecured } from './shortcuts.ts';

export type Connection = ReturnType<Libp2p['getConnections']>[number];
export type Stream = Awaited<ReturnType<Connection['newStream']>>;

type Factory<Key extends 'connectionEncrypters' | 'streamMuxers' | 'transports'> = NonNullable<
  Libp2pOptions[Key]
>[number];

type TcpOptions = NonNullable<NonNullable<Parameters<typeof tcp>[0]>['dialOpts']>;

export interface StackConfig {
  /** Multiaddrs such as `/ip4/0.0.0.0/tcp/7331` and `/ip4/0.0.0.0/tcp/7332/ws`; port 0 means any free one. */
  readonly listen: readonly string[];
  /** The Ed25519 seed of the node's identity, 32 bytes. */
  readonly seed: Uint8Array;
}

export interface Stack {
  readonly libp2p: Libp2p;
  readonly config: StackConfig;
  /** Where it listens, wildcards expanded, without the peer id. */
  listenAddresses(): readonly string[];
  /** When (`performance.now`) an incoming connection last proved to come from this very node; 0 if never. */
  lastSelfDialMs(): number;
}

/** How long a dial to oneself is held, so that the accepting half can finish and see who dialled. */
const SELF_DIAL_HOLD_MS = 100;
const STREAMS_PER_CONNECTION = 64;
const CLOSE_MS = 500;
const PENDING_INBOUND = 64;
const PARALLEL_DIALS = 64;
/**
 * What a socket may hold before it says that it is full: as much as one stream may have under way. With Node's 64 KiB every
 * larger frame fills it, and tells all streams of the connection twice that they must wait and need not.
 */
const SOCKET = { highWaterMark: WINDOW_BYTES } as TcpOptions;
/**
 * Not cut because nobody had anything to say, which libp2p does after two minutes, and hence not kept busy for nothing
 * either, which its muxer does twice a minute: who is alive is asked above the wire, in turn, over every link.
 */
const QUIET = { inboundSocketInactivityTimeout: 0, outboundSocketInactivityTimeout: 0 };
/** The muxer still asks once, at the start: it knows the round trip by that, and lets the windows of streams grow only then. */
const PING_MS = 24 * 60 * 60 * 1_000;

/** Not started yet. */
export async function createStack(config: StackConfig): Promise<Stack> {
  let transports: { getAddrs(): { toString(): string }[] } | undefined;
  let lastSelfDialMs = 0;
  const libp2p = await createLibp2p({
    start: false,
    privateKey: await generateKeyPairFromSeed('Ed25519', config.seed),
    addresses: { listen: [...config.listen] },
    logger: { forComponent: () => silent },
    transports: [
      (components) => {
        transports = components.transportManager;
        return tcp({ listenOpts: SOCKET, dialOpts: SOCKET, ...QUIET })(components);
      },
      webSockets() as Factory<'transports'>,
    ],
    connectionEncrypters: [
      encrypter(() => {
        lastSelfDialMs = performance.now();
      }),
    ],
    streamMuxers: [muxer],
    connectionMonitor: { enabled: false },
    connectionManager: {
      maxConnections: limits.connections,
      inboundConnectionThreshold: limits.inboundConnectionsPerSecond,
      maxIncomingPendingConnections: PENDING_INBOUND,
      maxParallelDials: PARALLEL_DIALS,
      dialTimeout: limits.dialMs,
      addressDialTimeout: limits.dialMs,
      inboundUpgradeTimeout: limits.dialMs,
      inboundStreamProtocolNegotiationTimeout: limits.dialMs,
      outboundStreamProtocolNegotiationTimeout: limits.dialMs,
      connectionCloseTimeout: CLOSE_MS,
      reconnectRetries: 0,
    },
  });
  return {
    libp2p,
    config,
    listenAddresses: () => transports?.getAddrs().map(String) ?? [],
    lastSelfDialMs: () => lastSelfDialMs,
  };
}

/** Starts listening. `SkeinError` says which address could not be used and what to do. */
export async function startStack(stack: Stack): Promise<void> {
  try {
    await stack.libp2p.start();
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw listenError(message, stack.config.listen.join(', '));
  }
}

function listenError(message: string, listen: string): SkeinError {
  const found = /\b(EADDRINUSE|EACCES|EADDRNOTAVAIL)\b[^\n]*?(\S+):(\d+)/.exec(message);
  const [, code, host = '', port = ''] = found ?? [];
  switch (code) {
    case 'EADDRINUSE':
      return SkeinError.of(
        'CONFLICT',
        `The mesh port ${port} on ${host} is taken by another program.`,
        `See which (ss -ltnp 'sport = :${port}'); stop it, or choose another port with --mesh-port N (0 takes any free one).`,
      );
    case 'EACCES':
      return SkeinError.of(
        'DENIED',
        `This user may not listen on port ${port}.`,
        'Choose a port above 1023 with --mesh-port N.',
      );
    case 'EADDRNOTAVAIL':
      return SkeinError.of(
        'INVALID_ARGUMENT',
        `This machine has no address ${host} to listen on.`,
        'Put an address of this machine into mesh.listen (ip addr lists them), or /ip4/0.0.0.0/tcp/PORT for all.',
      );
    default:
      return SkeinError.of(
        'INVALID_ARGUMENT',
        `Cannot listen on ${listen}.`,
        'Write them as multiaddrs of TCP or WebSocket: /ip4/0.0.0.0/tcp/7331, /ip4/0.0.0.0/tcp/7332/ws.',
      );
  }
}

/** Noise, over a prepared connection, and telling of connections from oneself. */
function encrypter(onSelfDial: () => void): Factory<'connectionEncrypters'> {
  return (components) => {
    const inner = noise({ crypto: noiseCrypto })(components);
    return {
      protocol: inner.protocol,
      async secureInbound(connection, options) {
        const secured = await inner.secureInbound(prepared(connection), options);
        if (secured.remotePeer.equals(components.peerId)) onSelfDial();
        shortenSecured(secured.connection, connection);
        return secured;
      },
      async secureOutbound(connection, options) {
        const secured = await inner.secureOutbound(prepared(connection), options);
        if (secured.remotePeer.equals(components.peerId)) {
          await new Promise((resolve) => setTimeout(resolve, SELF_DIAL_HOLD_MS));
        }
        shortenSecured(secured.connection, connection);
        return secured;
      },
    };
  };
}

const closings = new WeakMap<object, (error: Error | undefined) => void>();

/**
 * Calls back once the connection is closed, before libp2p takes down its layers and streams: whoever watches the peer
 * need not wait for that. False where nothing will call.
 */
export function onceClosed(connection: Connection, closed: (error: Error | undefined) => void): boolean {
  const { maConn } = connection as { maConn?: object };
  if (maConn === undefined || !closings.has(maConn)) return false;
  closings.set(maConn, closed);
  return true;
}

/** Aborting a WebSocket asks it to close with a code that it does not accept, which leaves it open. */
function prepared(connection: MessageStream): MessageStream {
  shortenRaw(connection);
  closings.set(connection, () => undefined);
  connection.addEventListener('close', ({ error }) => closings.get(connection)?.(error), { once: true });
  const { websocket } = connection as { websocket?: { close(): void } };
  if (websocket !== undefined) {
    connection.addEventListener('close', () => websocket.close(), { once: true });
  }
  return connection;
}

const muxer: Factory<'streamMuxers'> = () => {
  const inner = yamux({
    keepAliveInterval: PING_MS,
    maxInboundStreams: STREAMS_PER_CONNECTION,
    maxOutboundStreams: STREAMS_PER_CONNECTION,
    streamOptions: {
      maxStreamWindowSize: WINDOW_BYTES,
      maxReadBufferLength: WINDOW_BYTES,
      maxWriteBufferLength: 4 * limits.frameBytes,
    },
  })();
  return {
    protocol: inner.protocol,
    createStreamMuxer(connection) {
      const shortened = shortenMuxer(connection);
      const made = inner.createStreamMuxer(connection);
      shortened.take(made);
      return made;
    },
  };
};

/** libp2p logs through formatters that cost time and memory even when nobody listens. */
const silent = Object.assign(() => undefined, {
  error: () => undefined,
  trace: () => undefined,
  enabled: false,
  newScope: () => silent,
}) as ReturnType<NonNullable<Libp2pOptions['logger']>['forComponent']>;
