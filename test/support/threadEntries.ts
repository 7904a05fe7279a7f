/** Which files a process starts threads from: told on its stderr, a line each, `thread file:///…`. */

const code = `import threads from "node:worker_threads"
import { syncBuiltinESMExports } from "node:module"
const { Worker } = threads
threads.Worker = class extends Worker {
  constructor(entry, options) {
    console.error("thread " + entry)
    super(entry, options)
  }
}
syncBuiltinESMExports()`

/** Of the environment of a process that tells it. */
export const tellingThreads = {
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}`
}
