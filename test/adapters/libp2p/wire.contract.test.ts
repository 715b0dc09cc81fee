import { wireContract } from '../../contracts/wire.contract.ts';
import { pairOver, TCP, WEBSOCKET } from './support.ts';

wireContract('libp2p over TCP', () => pairOver(TCP));
wireContract('libp2p over WebSocket', () => pairOver(WEBSOCKET));
