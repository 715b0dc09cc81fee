export { ByteReader, ByteWriter, decodeUtf8 } from '../kernel/bytes.ts';
