/**
 * A provider of models that stands outside of all that is tried: it serves whoever asks and refuses nothing, and counts
 * every token when it serves it. HTTP on the Unix socket that is its argument.
 */
import { createServer, type IncomingMessage } from 'node:http';
import { nowMs, type Served } from './operations.ts';
import type { ProviderNews, ProviderTerms } from './provider.ts';

interface Counted {
  total: number;
  limit: number;
  readonly parent: string | undefined;
}

const counted = new Map<string, Counted>();

const server = createServer((request, response) => {
  void bodyOf(request).then((body) => {
    if (request.url === '/terms') agree(body as ProviderTerms);
    else serve(body as Pick<Served, 'budget' | 'reservationId' | 'tokens'>);
    response.end('{}');
  });
});
// A process of agents that is stopped for a while keeps its connections.
server.keepAliveTimeout = 0;
server.listen(process.argv[2] as string, () => tell({ kind: 'ready' }));
process.on('disconnect', () => process.exit());

function agree({ budget, limit, parent }: ProviderTerms): void {
  const known = counted.get(budget);
  if (known === undefined) counted.set(budget, { total: 0, limit, parent });
  else known.limit = limit;
}

function serve({ budget, reservationId, tokens }: Pick<Served, 'budget' | 'reservationId' | 'tokens'>): void {
  let name: string | undefined = budget;
  while (name !== undefined) {
    const of = counted.get(name);
    if (of === undefined) return;
    of.total += tokens;
    const { total, limit } = of;
    tell({ kind: 'serve', at: nowMs(), budget: name, reservationId, tokens, total, limit });
    name = of.parent;
  }
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += chunk;
  return JSON.parse(text);
}

function tell(news: ProviderNews): void {
  process.send?.(news);
}
