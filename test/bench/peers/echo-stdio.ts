import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { echoServer } from './echo.ts';

serveStdio(echoServer);
