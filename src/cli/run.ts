/** From arguments to an exit code: picks the command, loads it alone, and turns every error into its exit code. */
import { Command, CommanderError } from 'commander';
import { type ErrorBody, errorBody, SkeinError } from '../kernel/errors.ts';
import { nearestWord } from '../kernel/nearest.ts';
import { bodyOf, EXIT, exitCodeOf, Reported, UsageError } from './exit.ts';
import { type Io, Output } from './io.ts';
import { wrongArgument } from './node-arguments.ts';
import { exitCodeOfSignal, processIo } from './process-io.ts';
import { printable } from './text.ts';

interface CommandEntry {
  readonly summary: string;
  /** Each command is loaded only when it is called: `board get` must not wait for what `up` needs. */
  readonly load: () => Promise<(io: Io) => Command>;
}

const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  up: {
    summary: 'run a node in the foreground',
    load: async () => (await import('./commands/up.ts')).upCommand,
  },
  mcp: {
    summary: "an MCP server on stdio, for an agent's client configuration",
    load: async () => (await import('./commands/mcp.ts')).mcpCommand,
  },
  status: {
    summary: 'this node at a glance',
    load: async () => (await import('./commands/status.ts')).statusCommand,
  },
  peers: {
    summary: 'the members that this node sees',
    load: async () => (await import('./commands/peers.ts')).peersCommand,
  },
  doctor: {
    summary: 'what is wrong, and how to mend it',
    load: async () => (await import('./commands/doctor.ts')).doctorCommand,
  },
  board: {
    summary: 'read, write, watch, export and import boards',
    load: async () => (await import('./commands/board.ts')).boardCommand,
  },
  lease: {
    summary: 'acquire, renew, release and list leases',
    load: async () => (await import('./commands/lease.ts')).leaseCommand,
  },
  budget: {
    summary: 'limits that the whole swarm shares: create, reserve, settle, report, status, write off',
    load: async () => (await import('./commands/budget.ts')).budgetCommand,
  },
  voters: {
    summary: 'the voters of the quorum store: list, add, remove, recover, merge',
    load: async () => (await import('./commands/voters.ts')).votersCommand,
  },
  agent: {
    summary: 'register agents and find them',
    load: async () => (await import('./commands/agent.ts')).agentCommand,
  },
  config: {
    summary: 'show and check the configuration',
    load: async () => (await import('./commands/config.ts')).configCommand,
  },
  simulate: {
    summary: 'whole swarms in simulated time, with faults, from a seed',
    load: async () => (await import('./commands/simulate.ts')).simulateCommand,
  },
  chaos: {
    summary: 'real processes with faults under load, from start to judgement',
    load: async () => (await import('./commands/chaos.ts')).chaosCommand,
  },
};

/** Runs one command. Never throws; whatever went wrong has been printed when it resolves. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const out = new Output(io, argv.includes('--json'));
  let program: Command | undefined;
  try {
    if (argv[0] === '--version' || argv[0] === '-V') {
      const { VERSION } = await import('../node/version.ts');
      await io.writeOut(`${VERSION}\n`);
      return EXIT.done;
    }
    program = await programFor(argv, io);
    await program.parseAsync([...argv], { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (error instanceof Reported) return error.exitCode;
    if (io.signal.aborted && !(error instanceof SkeinError)) return exitCodeOfSignal(io.signal.reason);
    return report(error, out, seeHelp(program, argv));
  }
}

/** The whole program for this process: its own arguments, its own terminal. */
export async function runProcess(argv: readonly string[] = process.argv.slice(2)): Promise<void> {
  const code = await run(argv, processIo());
  // What may still be open (a node that would not stop, a client that holds standard input) must not hold the end.
  process.stdout.write('', () => process.exit(code));
}

async function programFor(argv: readonly string[], io: Io): Promise<Command> {
  const program = new Command('skein')
    .description('A distributed agent mesh: one node per machine, a shared blackboard, over MCP.')
    .option('--version', 'print the version')
    .helpCommand('help [command]', 'explain a command')
    .addHelpText('after', '\nStart with: skein up');
  const words = argv.filter((argument) => !argument.startsWith('-'));
  const wanted = words[0] === 'help' ? words[1] : words[0];
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    const command = name === wanted ? (await load())(io) : new Command(name);
    program.addCommand(command.description(summary));
  }
  checkHelpWords(program, argv);
  return settled(program, io);
}

/**
 * Who asks for the help of a command that there is not is told so: commander shows the help of what stands above it.
 *
 * @throws UsageError with the nearest command.
 */
function checkHelpWords(program: Command, argv: readonly string[]): void {
  if (argv[0] !== 'help' && !argv.includes('--help') && !argv.includes('-h')) return;
  const words = argv.filter((argument) => !/^(--help|-h|--json)$/.test(argument));
  let command = program;
  for (const word of words[0] === 'help' ? words.slice(1) : words) {
    if (word.startsWith('-') || command.commands.length === 0) return;
    const names = command.commands.map((each) => each.name());
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined && word !== 'help') throw unknownCommand(word, names);
    if (next === undefined) return;
    command = next;
  }
}

function unknownCommand(word: string, names: readonly string[]): UsageError {
  const near = nearestWord(word, names);
  return new UsageError(
    `unknown command '${printable(word)}'.`,
    near === undefined ? `There are: ${names.join(', ')}.` : `Did you mean ${near}?`,
  );
}

/** Errors are thrown rather than printed, here and in every subcommand, so that all take one way out. */
function settled(command: Command, io: Io): Command {
  command.exitOverride().configureOutput({
    writeOut: (text) => void io.writeOut(text),
    writeErr: (text) => io.writeError(text),
    outputError: () => {},
  });
  for (const subcommand of command.commands) settled(subcommand, io);
  return command;
}

async function report(error: unknown, out: Output, help: string): Promise<number> {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.done;
    // Help that was shown because a command is missing says enough.
    if (error.code !== 'commander.help') await out.error(usageBody(error, help));
    return EXIT.usage;
  }
  const body = bodyOf(error);
  const wrong = wrongArgument(body);
  if (wrong !== undefined) {
    await out.error({ ...body, ...wrong, hint: help });
    return EXIT.usage;
  }
  await out.error(body);
  if (!(error instanceof SkeinError) && error instanceof Error) out.warn(error.stack ?? '');
  return error instanceof SkeinError ? exitCodeOf(error) : EXIT.refused;
}

/** Names the help of the command that the arguments begin with. */
function seeHelp(program: Command | undefined, argv: readonly string[]): string {
  const words: string[] = [];
  let command = program;
  for (const word of argv) {
    command = command?.commands.find((each) => each.name() === word);
    if (command === undefined) break;
    words.push(word);
  }
  return ['See: skein', ...words, '--help'].join(' ');
}

function usageBody(error: CommanderError, help: string): ErrorBody {
  const [message = '', suggestion] = error.message.replace(/^error: /, '').split('\n', 2);
  const hint = suggestion === undefined ? help : suggestion.replace(/^\(|\)$/g, '');
  return errorBody('INVALID_ARGUMENT', `${message.replace(/[^.]$/, '$&.')}`, hint);
}
