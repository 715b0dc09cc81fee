/** `@hocuspocus/server` as it comes, without extensions: nothing is stored and nobody is asked who they are. */
import { Server } from '@hocuspocus/server';
import { serve } from '../lib/remote.ts';

serve({
  listen: async () => {
    const server = new Server({ address: '127.0.0.1', port: 0, quiet: true, stopOnSignals: false });
    await server.listen();
    return `ws://127.0.0.1:${server.address.port}`;
  },
});
