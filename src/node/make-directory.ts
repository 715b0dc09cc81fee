/** For those who may not import adapters. */
export { makeDirectory } from '../adapters/node/make-directory.ts';
