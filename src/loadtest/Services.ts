/** The services of a load test: the stores, and a node over them in the parts that a load test starts one by one. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, FileSystem, Layer, type Redacted, Result } from "effect"
import type { Dispatcher } from "../actors/commands/Dispatcher.ts"
import { CommitFeed } from "../actors/commit/CommitFeed.ts"
import { fromHost } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"
import { startDevStack } from "../infra/dev/DevStack.ts"
import * as LedgerNode from "../LedgerNode.ts"
import type { Driver } from "./Driver.ts"

export interface ServiceUrls {
  readonly eventStoreUrl: Redacted.Redacted
  readonly readModelUrl: Redacted.Redacted
  readonly natsUrl: string
}

/** A development stack for this run alone, in a directory that is removed with the scope. */
export const ownStack = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-loadtest-" })
  // Where this process is root, the database runs as another user, who must reach its files in this directory.
  yield* fs.chmod(directory, 0o711)
  return yield* startDevStack({ dataDir: `${directory}/stack` })
}).pipe(Effect.provide(NodeServices.layer))

/**
 * The databases, and the feed of commits that a write side gives to a read side. A load test starts the two sides at
 * different moments; both get the feed from here, because a layer that is already provided is not built again.
 */
export const stores = (urls: ServiceUrls) => Layer.merge(LedgerNode.stores(urls), CommitFeed.layer)

/** The read side of a node, over `stores`. */
export const readSide = (urls: ServiceUrls) => LedgerNode.readSideThread({ ...urls, nodeName: "loadtest" })

/** The dispatcher as host code calls it, with every command checked against the schema first. */
export const driverOf = (dispatcher: Dispatcher["Service"]): Driver => ({
  dispatch: (command) =>
    Effect.suspend(
      (): Effect.Effect<Receipt, CommandError> =>
        dispatcher.precheck(command) ??
        Result.match(fromHost(command), { onFailure: Effect.fail, onSuccess: dispatcher.dispatch })
    ),
  precheck: dispatcher.precheck,
  dispatchMany: dispatcher.dispatchMany,
  stats: dispatcher.stats
})
