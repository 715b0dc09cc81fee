/** A wire in a process of its own: admits whoever connects and sends every frame back. */
import { end } from './support.ts';

const { wire } = end(Number(process.argv[2]));
await wire.listen((event) => {
  if (event.kind === 'connected') wire.admit(event.peer);
  if (event.kind === 'frame' && event.channel !== 'hello') wire.send(event.from, event.channel, event.bytes);
});
process.send?.(wire.addresses()[0]);
