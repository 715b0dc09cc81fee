/** Argument: a directory, where it is to answer once a record is on the disk there. */
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { diskFloor } from '../lib/disk-floor.ts';
import { echoServer } from './echo.ts';

const [directory] = process.argv.slice(2);
const disk = directory === undefined ? undefined : diskFloor(directory);
serveStdio(() => echoServer(disk));
