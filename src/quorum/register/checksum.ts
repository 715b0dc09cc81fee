/** CRC-32 as zlib's, begun from an earlier one; four bytes at a time, by a table for each place. */
const TABLE = new Int32Array(4 * 256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  TABLE[byte] = value;
}
for (let at = 256; at < TABLE.length; at++) {
  const before = TABLE[at - 256] as number;
  TABLE[at] = (TABLE[before & 0xff] as number) ^ (before >>> 8);
}

export function crc32(bytes: Uint8Array, before = 0): number {
  let value = ~before;
  let at = 0;
  for (const end = bytes.length - 3; at < end; at += 4) {
    const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
    const high = (bytes[at + 2] as number) | ((bytes[at + 3] as number) << 8);
    value ^= low | (high << 16);
    value =
      (TABLE[768 + (value & 0xff)] as number) ^
      (TABLE[512 + ((value >>> 8) & 0xff)] as number) ^
      (TABLE[256 + ((value >>> 16) & 0xff)] as number) ^
      (TABLE[value >>> 24] as number);
  }
  for (; at < bytes.length; at++) {
    value = (TABLE[(value ^ (bytes[at] as number)) & 0xff] as number) ^ (value >>> 8);
  }
  return ~value >>> 0;
}
