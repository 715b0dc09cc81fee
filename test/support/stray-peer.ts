/** A peer that speaks libp2p and the frames of the wire, and says there whatever a test wants. */
import { libp2pWire } from '../../src/adapters/libp2p/wire.ts';
import { hkdf, nodeCryptography, signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import { encode } from '../../src/kernel/codec.ts';
import type { Channel } from '../../src/kernel/effects.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Wire, WireEvent } from '../../src/kernel/ports.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { certifyMember, swarmFromSecret } from '../../src/mesh/identity/swarm.ts';
import { decodeHelloFrame, type HelloFrame } from '../../src/mesh/links/hello.ts';
import { eventually, type NodeProcess, SECRET } from './node-process.ts';

export class StrayPeer {
  readonly nodeId: NodeId;
  readonly events: WireEvent[] = [];
  readonly #wire: Wire;
  readonly #seed: Uint8Array;
  #target: NodeId | undefined;

  constructor(number: number) {
    this.#seed = new Uint8Array(32).fill(number);
    this.nodeId = nodeIdFromPublicKey(signerFromSeed(this.#seed).publicKey);
    this.#wire = libp2pWire({ listen: ['/ip4/127.0.0.1/tcp/0'], seed: this.#seed });
  }

  /** Connected, Noise done, nothing said yet. */
  async reach(node: NodeProcess): Promise<void> {
    if (this.#target === undefined) await this.#wire.listen((event) => this.events.push(event));
    this.#target = node.ready.nodeId as NodeId;
    this.#wire.dial(node.ready.meshAddresses[0] as string);
    await eventually('the stray peer is connected', () =>
      this.events.some(({ kind }) => kind === 'connected') ? true : undefined,
    );
  }

  /** A greeting with a good certificate of the tests' swarm, changed as told. */
  greet(changes: Readonly<Record<string, unknown>> = {}): void {
    const swarm = swarmFromSecret(SECRET, { hash: nodeCryptography.hash, hkdf, signerFromSeed });
    if (!swarm.ok) throw new Error(swarm.error.message);
    const member = { nodeId: this.nodeId, name: 'stray', roles: ['worker'], zone: 'trusted', serial: 1 };
    const hello = {
      kind: 'hello',
      versions: [1, 1],
      certificate: certifyMember(swarm.value, member, { monoMs: 0, wallMs: Date.now() }),
      wallMs: Date.now(),
      software: '9.9.9',
      addresses: [],
      incarnation: 4711,
      ...changes,
    };
    this.say('hello', encode(hello));
  }

  say(channel: Channel, bytes: Uint8Array): void {
    this.#wire.send(this.#target as NodeId, channel, bytes);
  }

  /** Lets frames of the node pass, as an admitted peer does. */
  admit(): void {
    this.#wire.admit(this.#target as NodeId);
  }

  /** What it was told on the channel of greetings. */
  greetings(): readonly HelloFrame[] {
    return this.events.flatMap((event) => {
      if (event.kind !== 'frame' || event.channel !== 'hello') return [];
      const frame = decodeHelloFrame(event.bytes);
      return frame === undefined ? [] : [frame];
    });
  }

  refusal() {
    return this.greetings().flatMap((frame) => (frame.kind === 'refused' ? [frame.refusal] : []))[0];
  }

  close(): Promise<void> {
    return this.#wire.close();
  }
}
