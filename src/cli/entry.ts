/** How this very program is started, for snippets that people copy and for the node started in the background. */
import { fileURLToPath } from 'node:url';

const inCheckout = import.meta.url.endsWith('.ts');

/** Absolute, so that it works from any directory and with this Node, whatever `node` is on the PATH. */
export function programArguments(): { readonly command: string; readonly args: readonly string[] } {
  const main = new URL('./main.js', import.meta.url);
  return { command: process.execPath, args: [fileURLToPath(main)] };
}

/** What a person types in another terminal, where the package is not installed for all. */
export const skeinCommand = inCheckout ? 'npm run -s skein --' : 'skein';

/** What a person types on another machine. */
export const startCommand = inCheckout ? 'npm start --' : 'skein up';

export function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}

/** An entry for the `mcpServers` of an agent's client configuration. */
export function mcpSnippet(data: string): string {
  const { command, args } = programArguments();
  const server = { command, args: [...args, 'mcp', '--data', data] };
  return JSON.stringify({ mcpServers: { skein: server } }, null, 2);
}
