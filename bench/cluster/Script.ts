/** What the scripts of this directory have in common: stores of their own, nodes over them, and the run of a program. */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, FileSystem, Layer, Logger, Redacted, References, type Scope } from "effect"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { startMember } from "../../test/support/members.ts"

/** Migrated stores in a directory that is removed with the scope. */
export const startStores = Effect.fnUntraced(function* (durable = true) {
  const fs = yield* FileSystem.FileSystem
  const dataDir = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-bench-" })
  // Where this process is root, the database runs as another user, who must reach its files in this directory.
  yield* fs.chmod(dataDir, 0o711)
  const stack = yield* startDevStack({ dataDir, durable })
  yield* LedgerNode.migrate(stack)
  return stack
})

/** Where a member finds these stores. */
export const urlsOf = ({ eventStoreUrl, readModelUrl }: Effect.Success<ReturnType<typeof startStores>>) => ({
  eventStoreUrl: Redacted.value(eventStoreUrl),
  locksUrl: Redacted.value(readModelUrl)
})

/** Starts the nodes of a cluster over stores of their own, each in a process. */
export const startNodes = Effect.fnUntraced(function* (count: number, durable = true) {
  const stack = yield* startStores(durable)
  const urls = urlsOf(stack)
  const members = yield* Effect.forEach(
    Array.from({ length: count }, (_, index) => index),
    (index) => startMember({ ...urls, name: `node-${index}` }),
    { concurrency: "unbounded" }
  )
  return { stack, urls, members }
})

/** Runs a script. Its failure is printed and makes the exit code 1; a signal ends the processes that it started, too. */
export const run = <E>(program: Effect.Effect<void, E, NodeServices.NodeServices | Scope.Scope>): void => {
  const services = Layer.mergeAll(
    NodeServices.layer,
    Layer.succeed(Logger.LogToStderr, true),
    Layer.succeed(References.MinimumLogLevel, "Error")
  )
  NodeRuntime.runMain(Effect.provide(Effect.scoped(program), services))
}
