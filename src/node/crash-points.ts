/** For those who may not import adapters: the places where a test can end a node. */
export { CRASH_POINTS } from '../adapters/node/crash-points.ts';
