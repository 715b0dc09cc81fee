/**
 * The part of etcd's gRPC interface (version 3) that the store uses: services, messages and their field numbers.
 * Source: `api/etcdserverpb/rpc.proto` and `api/mvccpb/kv.proto` of etcd. Numbers of 64 bits become JavaScript's, exact
 * to 2^53: revisions never get there, and our leases are chosen below.
 */
import { fromJSON } from '@grpc/proto-loader';

export interface Header {
  readonly clusterId: number;
  readonly revision: number;
}

export interface EtcdKeyValue {
  readonly key: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly value: Uint8Array;
  readonly lease: number;
}

interface RangeRequest {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array;
  readonly limit?: number;
  readonly revision?: number;
  readonly serializable?: boolean;
}

interface RangeResponse {
  readonly header: Header;
  readonly kvs: readonly EtcdKeyValue[];
  readonly more: boolean;
}

export interface EtcdCompare {
  readonly result: number;
  readonly target: number;
  readonly key: Uint8Array;
  readonly version?: number;
  readonly createRevision?: number;
  readonly modRevision?: number;
  readonly value?: Uint8Array;
  readonly lease?: number;
}

export interface RequestOp {
  readonly requestRange?: RangeRequest;
  readonly requestPut?: { readonly key: Uint8Array; readonly value: Uint8Array; readonly lease: number };
  readonly requestDeleteRange?: { readonly key: Uint8Array; readonly rangeEnd?: Uint8Array };
  readonly requestTxn?: TxnRequest;
}

export interface TxnRequest {
  readonly compare: readonly EtcdCompare[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}

export interface ResponseOp {
  readonly responseRange?: RangeResponse;
  readonly responseDeleteRange?: { readonly deleted: number };
  readonly responseTxn?: TxnResponse;
}

export interface TxnResponse {
  readonly header: Header;
  readonly succeeded: boolean;
  readonly responses: readonly ResponseOp[];
}

export interface WatchRequest {
  readonly createRequest?: {
    readonly key: Uint8Array;
    readonly rangeEnd: Uint8Array;
    readonly startRevision: number;
    readonly progressNotify: boolean;
  };
  readonly progressRequest?: Record<string, never>;
}

export interface WatchResponse {
  readonly header: Header;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: number;
  readonly cancelReason: string;
  /** `type` 0 put, 1 deleted. */
  readonly events: readonly { readonly type: number; readonly kv: EtcdKeyValue }[];
}

export interface LeaseResponse {
  readonly header: Header;
  readonly ID: number;
  /** Seconds; 0 where the lease does not exist. */
  readonly TTL: number;
}

const message = (
  fields: Record<string, readonly [type: string, id: number, rule?: 'repeated']>,
  oneof?: readonly string[],
) => ({
  fields: Object.fromEntries(
    Object.entries(fields).map(([name, [type, id, rule]]) => [name, { type, id, ...(rule && { rule }) }]),
  ),
  ...(oneof && { oneofs: { union: { oneof: [...oneof] } } }),
});
const method = (requestType: string, responseType: string, stream = false) => ({
  comment: '',
  requestType,
  responseType,
  ...(stream && { requestStream: true, responseStream: true }),
});

const definition = fromJSON(
  {
    nested: {
      etcdserverpb: {
        nested: {
          KV: {
            methods: {
              Range: method('RangeRequest', 'RangeResponse'),
              Txn: method('TxnRequest', 'TxnResponse'),
            },
          },
          Watch: { methods: { Watch: method('WatchRequest', 'WatchResponse', true) } },
          Lease: {
            methods: {
              LeaseGrant: method('LeaseGrantRequest', 'LeaseResponse'),
              LeaseRevoke: method('LeaseIdRequest', 'HeaderResponse'),
              LeaseKeepAlive: method('LeaseIdRequest', 'LeaseResponse', true),
            },
          },
          Auth: { methods: { Authenticate: method('AuthenticateRequest', 'AuthenticateResponse') } },
          ResponseHeader: message({ clusterId: ['uint64', 1], revision: ['int64', 3] }),
          HeaderResponse: message({ header: ['ResponseHeader', 1] }),
          KeyValue: message({
            key: ['bytes', 1],
            createRevision: ['int64', 2],
            modRevision: ['int64', 3],
            version: ['int64', 4],
            value: ['bytes', 5],
            lease: ['int64', 6],
          }),
          RangeRequest: message({
            key: ['bytes', 1],
            rangeEnd: ['bytes', 2],
            limit: ['int64', 3],
            revision: ['int64', 4],
            serializable: ['bool', 7],
          }),
          RangeResponse: message({
            header: ['ResponseHeader', 1],
            kvs: ['KeyValue', 2, 'repeated'],
            more: ['bool', 3],
          }),
          PutRequest: message({ key: ['bytes', 1], value: ['bytes', 2], lease: ['int64', 3] }),
          DeleteRangeRequest: message({ key: ['bytes', 1], rangeEnd: ['bytes', 2] }),
          DeleteRangeResponse: message({ header: ['ResponseHeader', 1], deleted: ['int64', 2] }),
          Compare: message(
            {
              result: ['int32', 1],
              target: ['int32', 2],
              key: ['bytes', 3],
              version: ['int64', 4],
              createRevision: ['int64', 5],
              modRevision: ['int64', 6],
              value: ['bytes', 7],
              lease: ['int64', 8],
            },
            ['version', 'createRevision', 'modRevision', 'value', 'lease'],
          ),
          RequestOp: message(
            {
              requestRange: ['RangeRequest', 1],
              requestPut: ['PutRequest', 2],
              requestDeleteRange: ['DeleteRangeRequest', 3],
              requestTxn: ['TxnRequest', 4],
            },
            ['requestRange', 'requestPut', 'requestDeleteRange', 'requestTxn'],
          ),
          ResponseOp: message(
            {
              responseRange: ['RangeResponse', 1],
              responsePut: ['HeaderResponse', 2],
              responseDeleteRange: ['DeleteRangeResponse', 3],
              responseTxn: ['TxnResponse', 4],
            },
            ['responseRange', 'responsePut', 'responseDeleteRange', 'responseTxn'],
          ),
          TxnRequest: message({
            compare: ['Compare', 1, 'repeated'],
            success: ['RequestOp', 2, 'repeated'],
            failure: ['RequestOp', 3, 'repeated'],
          }),
          TxnResponse: message({
            header: ['ResponseHeader', 1],
            succeeded: ['bool', 2],
            responses: ['ResponseOp', 3, 'repeated'],
          }),
          WatchRequest: message(
            { createRequest: ['WatchCreateRequest', 1], progressRequest: ['WatchProgressRequest', 3] },
            ['createRequest', 'progressRequest'],
          ),
          WatchCreateRequest: message({
            key: ['bytes', 1],
            rangeEnd: ['bytes', 2],
            startRevision: ['int64', 3],
            progressNotify: ['bool', 4],
          }),
          WatchProgressRequest: message({}),
          WatchResponse: message({
            header: ['ResponseHeader', 1],
            created: ['bool', 3],
            canceled: ['bool', 4],
            compactRevision: ['int64', 5],
            cancelReason: ['string', 6],
            events: ['Event', 11, 'repeated'],
          }),
          Event: message({ type: ['int32', 1], kv: ['KeyValue', 2] }),
          LeaseGrantRequest: message({ TTL: ['int64', 1], ID: ['int64', 2] }),
          LeaseIdRequest: message({ ID: ['int64', 1] }),
          LeaseResponse: message({ header: ['ResponseHeader', 1], ID: ['int64', 2], TTL: ['int64', 3] }),
          AuthenticateRequest: message({ name: ['string', 1], password: ['string', 2] }),
          AuthenticateResponse: message({ header: ['ResponseHeader', 1], token: ['string', 2] }),
        },
      },
    },
  },
  { longs: Number, defaults: true, arrays: true, keepCase: true },
);

/** One method of a service, as gRPC's client takes it. */
export interface Method<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

function methodOf<Request, Response>(service: string, name: string): Method<Request, Response> {
  const found = (definition[`etcdserverpb.${service}`] as Record<string, unknown> | undefined)?.[name];
  if (found === undefined) throw new Error(`no method ${service}.${name}`);
  return found as Method<Request, Response>;
}

export const rangeMethod = methodOf<RangeRequest, RangeResponse>('KV', 'Range');
export const txnMethod = methodOf<TxnRequest, TxnResponse>('KV', 'Txn');
export const watchMethod = methodOf<WatchRequest, WatchResponse>('Watch', 'Watch');
export const leaseGrantMethod = methodOf<{ TTL: number; ID: number }, LeaseResponse>('Lease', 'LeaseGrant');
export const leaseRevokeMethod = methodOf<{ ID: number }, { header: Header }>('Lease', 'LeaseRevoke');
export const leaseKeepAliveMethod = methodOf<{ ID: number }, LeaseResponse>('Lease', 'LeaseKeepAlive');
export const authenticateMethod = methodOf<{ name: string; password: string }, { token: string }>(
  'Auth',
  'Authenticate',
);
