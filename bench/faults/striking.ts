/**
 * Loaded by `--import` into each thread of a node that is otherwise as shipped (`npm run bench:faults`): at SIGUSR2 the thread of the read side
 * does to itself what the file says that the bench names.
 */
import { readFileSync } from "node:fs"
import { BroadcastChannel, isMainThread } from "node:worker_threads"
import { faultChannel } from "../../test/support/threadFaults.ts"

if (isMainThread) {
  process.on("SIGUSR2", () => {
    const channel = new BroadcastChannel(faultChannel)
    channel.postMessage(readFileSync(process.env.CHRONICLE_BENCH_FAULT ?? "", "utf8"))
    channel.close()
  })
}
