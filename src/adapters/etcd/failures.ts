/** What etcd's refusals mean. Texts are of `api/v3rpc/rpctypes/error.go` of etcd, where codes alone do not tell. */
import { type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';

/** The answer to give; `undefined` where the request was not decided: it may have been lost on its way. */
export function errorOf({ code, details }: ServiceError): ErrorBody | undefined {
  const says = `etcd says: ${details}`;
  if (isRetriedAfterSignIn({ code, details })) return undefined;
  switch (code) {
    case status.NOT_FOUND:
      return errorBody('NOT_FOUND', says, 'The lease has ended or never was: grant another.');
    case status.INVALID_ARGUMENT:
      if (/too large|too many operations/.test(details)) {
        return errorBody(
          'TOO_LARGE',
          says,
          'Split the transaction, or raise etcd’s --max-request-bytes and --max-txn-ops.',
        );
      }
      if (/authentication failed|user name is empty/.test(details)) {
        return errorBody('UNAUTHENTICATED', says, 'Check the user and password of the quorum’s etcd.');
      }
      return errorBody('INVALID_ARGUMENT', says, 'Change the request.');
    case status.RESOURCE_EXHAUSTED:
      if (!/space exceeded/.test(details)) return undefined;
      return errorBody(
        'QUOTA_EXCEEDED',
        says,
        'Compact and defragment etcd, raise its quota and disarm its alarm.',
      );
    case status.PERMISSION_DENIED:
      return errorBody(
        'DENIED',
        says,
        'Give the user of the quorum’s etcd read and write rights on the prefix.',
      );
    case status.UNAUTHENTICATED:
      return errorBody('UNAUTHENTICATED', says, 'Check the user and password of the quorum’s etcd.');
    case status.FAILED_PRECONDITION:
      if (/lease already exists/.test(details)) return errorBody('CONFLICT', says, 'Ask again.');
      if (/authentication is not enabled/.test(details)) {
        return errorBody('UNAUTHENTICATED', says, 'Leave the user out, or enable authentication in etcd.');
      }
      return undefined;
    case status.UNIMPLEMENTED:
    case status.INTERNAL:
    case status.DATA_LOSS:
    case status.OUT_OF_RANGE:
      return errorBody('INTERNAL', says, 'See etcd’s log.');
    default:
      return undefined;
  }
}

/** The member did nothing with the request, and says so. */
export function isRefusedBeforehand({ code, details }: Pick<ServiceError, 'code' | 'details'>): boolean {
  return (
    (code === status.UNAVAILABLE &&
      /no leader|No connection established|Name resolution failed/.test(details)) ||
    (code === status.RESOURCE_EXHAUSTED && /too many requests/.test(details)) ||
    (code === status.FAILED_PRECONDITION && /not leader/.test(details))
  );
}

/** The token has run out, or rights were changed since it was given; nothing was done. */
export function isRetriedAfterSignIn({ code, details }: Pick<ServiceError, 'code' | 'details'>): boolean {
  return (
    (code === status.UNAUTHENTICATED && /invalid auth token/.test(details)) ||
    (code === status.INVALID_ARGUMENT && /revision of auth store is old/.test(details))
  );
}
