/**
 * The projection of the example, in a module that does to the thread it runs in what a test asks of it (`threadFaults.ts`). Asked, it tells
 * where the thread keeps V8's compiled code.
 */
import { getCompileCacheDir } from "node:module"
import { BroadcastChannel, isMainThread } from "node:worker_threads"
import "./threadFaults.ts"

export { default } from "../../examples/monthly-totals/projection.ts"

export const codeChannel = "chronicle-test-code"

if (!isMainThread) {
  const asking = new BroadcastChannel(codeChannel)
  asking.onmessage = () => asking.postMessage(getCompileCacheDir())
  asking.unref()
}
