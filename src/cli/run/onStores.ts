/** Asks the log and the read model where `--data` or the environment says they are: no node need run. */
import { Effect, type Option } from "effect"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import { makeStoreQueries } from "../../Ledger.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import type { QueryMethods } from "../../QueryMethods.ts"
import { grouped, makeProgress } from "../Output.ts"
import { resolveStores } from "./services.ts"

export const onStores = <A, E, R>(
  data: Option.Option<string>,
  question: (books: QueryMethods) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function* () {
    const stores = yield* resolveStores(data)
    const progress = yield* makeProgress
    const books = makeStoreQueries(({ accounts, events }) =>
      progress.showUnsafe(`checked ${grouped(events)} events of ${grouped(accounts)} accounts`)
    )
    return yield* Effect.flatMap(books, question).pipe(
      Effect.provide(LedgerNode.layerReader(stores)),
      Effect.ensuring(progress.clear)
    )
  }).pipe(Effect.scoped, Effect.provide(limitsFromEnvironment))
