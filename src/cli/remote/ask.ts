/**
 * Where a question goes: to the stores of `--data`; else to the nodes of `CHRONICLE_RPC_URL`; else to a node of this
 * machine, on `CHRONICLE_RPC_PORT` or the default port, if one answers; else to the stores that the environment names.
 * What was named is asked or the question fails. A line on stderr says where a node was asked that was only found, although
 * stores were named, and where one was found and not asked.
 */
import { Config, Console, Effect, Option } from "effect"
import { printable } from "../../domain/Printable.ts"
import { Ledger } from "../../LedgerService.ts"
import type { QueryMethods } from "../../QueryMethods.ts"
import type { ClientLimits } from "../../rpc/client/ClientOptions.ts"
import { LedgerClient } from "../../rpc/client/LedgerClient.ts"
import { clientLayer, findNodeHere } from "./connection.ts"

/** `CHRONICLE_RPC_URL=none`: no node is asked. */
const noNode = "none"

const note = (text: string) => Console.error(`chronicle: ${printable(text)}`)

/** `why`: a node that was found is not asked. */
type Target =
  | { readonly _tag: "Stores"; readonly why?: string }
  | { readonly _tag: "Node"; readonly url?: string }

const chooseTarget = Effect.fnUntraced(function* (data: Option.Option<string>) {
  const stores: Target = { _tag: "Stores" }
  if (Option.isSome(data)) return stores
  const named = yield* Config.option(Config.String("CHRONICLE_RPC_URL"))
  if (Option.isSome(named)) return named.value === noNode ? stores : ({ _tag: "Node" } satisfies Target)
  const found = yield* findNodeHere
  if (found === undefined) return stores
  if (found.fault !== undefined)
    return { ...stores, why: `${found.url} is not asked: ${found.fault}` } satisfies Target
  if (Option.isSome(yield* Config.option(Config.String("CHRONICLE_EVENT_STORE_URL"))))
    yield* note(
      `this is the answer of the node at ${found.url}; CHRONICLE_RPC_URL=${noNode} asks the stores of the environment`
    )
  return { _tag: "Node", url: found.url } satisfies Target
})

/** Asks; `limits` are those of the client, where the question needs others than it has. */
export const asking = <A, E, R>(
  data: Option.Option<string>,
  question: (books: QueryMethods) => Effect.Effect<A, E, R>,
  limits?: Partial<ClientLimits>
) =>
  askingNode(
    data,
    question,
    Effect.flatMap(
      Effect.promise(() => import("../run/onStores.ts")),
      ({ onStores }) => onStores(data, question)
    ),
    limits
  )

/** The same for a question that is put to the stores in another way. */
export const askingNode = Effect.fnUntraced(function* <A, E, R, A2, E2, R2>(
  data: Option.Option<string>,
  question: (books: QueryMethods) => Effect.Effect<A, E, R>,
  onStores: Effect.Effect<A2, E2, R2>,
  limits?: Partial<ClientLimits>
) {
  const target: Target = yield* chooseTarget(data)
  if (target._tag === "Node")
    return yield* Effect.gen(function* () {
      yield* (yield* LedgerClient).awaitConnected
      return yield* question(yield* Ledger)
    }).pipe(Effect.provide(clientLayer({ url: target.url, limits })))
  if (target.why !== undefined) yield* note(target.why)
  return yield* onStores
})
