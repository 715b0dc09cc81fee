/** What a node says of itself and the mesh, for those that ask it from outside. */
export { socketPath } from '../adapters/node/socket-path.ts';
export type { MeshStatus, PeerInfo, Problem } from '../mesh/view.ts';
