/**
 * Where a question goes: to the stores of `--data`; else to the nodes of `CHRONICLE_RPC_URL`; else to a node of this
 * machine, on `CHRONICLE_RPC_PORT` or the default port, if one answers; else to the stores that the environment names.
 * What was named is asked or the question fails. A line on stderr says where a node was asked that was only found, although
 * stores were named, and where one was found and not asked.
 */
import { Config, Console, Effect, Option, Predicate, Result } from "effect"
import { printable } from "../../domain/Printable.ts"
import { Ledger } from "../../LedgerService.ts"
import type { AnyQuery, QueryMethods } from "../../QueryMethods.ts"
import type { ClientLimits } from "../../rpc/client/ClientOptions.ts"
import { LedgerClient } from "../../rpc/client/LedgerClient.ts"
import { clientLayer, findNodeHere } from "./connection.ts"

/** `CHRONICLE_RPC_URL=none`: no node is asked. */
const noNode = "none"

const note = (text: string) => Console.error(`chronicle: ${printable(text)}`)

/** What a token must allow, who asks so. */
type QueryScope = AnyQuery["scope"]

/** How a question is asked that differs from most. */
interface Asking {
  /** Limits of the client, where the question needs others than it has. */
  readonly limits?: Partial<ClientLimits>
  /** Default `read`. */
  readonly scope?: QueryScope
}

/** `why`: a node that was found is not asked. `orStores`: it was found, and where it refuses the caller the stores are asked. */
type Target =
  | { readonly _tag: "Stores"; readonly why?: string }
  | { readonly _tag: "Node"; readonly url?: string; readonly orStores?: boolean; readonly said?: string }

const notAsked = (url: string, fault: string): string => `${url} is not asked: ${fault}`

const chooseTarget = Effect.fnUntraced(function* (data: Option.Option<string>, scope: QueryScope) {
  const stores: Target = { _tag: "Stores" }
  if (Option.isSome(data)) return stores
  const named = yield* Config.option(Config.String("CHRONICLE_RPC_URL"))
  if (Option.isSome(named)) return named.value === noNode ? stores : ({ _tag: "Node" } satisfies Target)
  const found = yield* findNodeHere
  if (found === undefined) return stores
  const { fault, isForbidden, url } = found
  // Who may not ask how it is may perhaps ask what takes another scope: the answer to the question alone tells.
  const orStores = isForbidden && scope !== "read"
  if (fault !== undefined && !orStores) return { ...stores, why: notAsked(url, fault) } satisfies Target
  const areStoresNamed = Option.isSome(yield* Config.option(Config.String("CHRONICLE_EVENT_STORE_URL")))
  const said = `this is the answer of the node at ${url}; CHRONICLE_RPC_URL=${noNode} asks the stores of the environment`
  return { _tag: "Node", url, orStores, ...(areStoresNamed ? { said } : {}) } satisfies Target
})

export const asking = <A, E, R>(
  data: Option.Option<string>,
  question: (books: QueryMethods) => Effect.Effect<A, E, R>,
  how?: Asking
) =>
  askingNode(
    data,
    question,
    Effect.flatMap(
      Effect.promise(() => import("../run/onStores.ts")),
      ({ onStores }) => onStores(data, question)
    ),
    how
  )

/** The same for a question that is put to the stores in another way. */
export const askingNode = Effect.fnUntraced(function* <A, E, R, A2, E2, R2>(
  data: Option.Option<string>,
  question: (books: QueryMethods) => Effect.Effect<A, E, R>,
  onStores: Effect.Effect<A2, E2, R2>,
  { limits, scope = "read" }: Asking = {}
) {
  const target: Target = yield* chooseTarget(data, scope)
  if (target._tag === "Stores") {
    if (target.why !== undefined) yield* note(target.why)
    return yield* onStores
  }
  const { orStores = false, said, url = "" } = target
  const answer = yield* Effect.gen(function* () {
    yield* (yield* LedgerClient).awaitConnected
    return yield* question(yield* Ledger)
  }).pipe(Effect.provide(clientLayer({ url: target.url, limits })), Effect.result)
  if (Result.isFailure(answer) && orStores && Predicate.isTagged(answer.failure, "Forbidden")) {
    yield* note(notAsked(url, messageOf(answer.failure)))
    return yield* onStores
  }
  if (said !== undefined) yield* note(said)
  return yield* Effect.fromResult(answer)
})

const messageOf = (error: object): string =>
  Predicate.hasProperty(error, "message") ? String(error.message) : String(error)
