/** Uses all of a core, and looks now and then whether its coordinator is still there. */
import { nowUs } from '../lib/clock.ts';
import { serve } from '../lib/remote.ts';

function burn(): void {
  const endUs = nowUs() + 50_000;
  while (nowUs() < endUs);
  setImmediate(burn);
}

serve({});
burn();
