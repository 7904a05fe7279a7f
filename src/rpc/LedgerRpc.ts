/**
 * What peers may call: one procedure for each method of `Ledger`, and three that only peers need. The procedures of the
 * queries are derived from their table, so that their payloads and answers are written nowhere else.
 */
import { Context, type Result, Schema } from "effect"
import { Rpc, RpcGroup, RpcSchema } from "effect/rpc"
import type { Scope } from "../access/Scope.ts"
import { CommandError, type InvalidCommand, QueryError } from "../domain/Errors.ts"
import { Receipt } from "../domain/Receipt.ts"
import { OwnedShards } from "../domain/Shard.ts"
import { HistoryEntry } from "../domain/Views.ts"
import { AfterVersion, type ledgerQueries } from "../LedgerQueries.ts"
import {
  type AnyQuery,
  makeReadArguments,
  type PayloadFields,
  payloadFieldsOf,
  type QueryName,
  queryEntries
} from "../QueryMethods.ts"

/** The scope that a caller of a procedure needs. */
const RequiredScope = Context.Service<{ readonly RequiredScope: unique symbol }, Scope>(
  "chronicle/rpc/RequiredScope"
)

/**
 * A command as JSON, amounts as strings. Not checked here but by the ledger, so that a caller of any language gets
 * `InvalidCommand` with the path of each fault, and not a message about the protocol.
 */
const Command = Schema.Unknown

/** Whether the node takes commands now, and if not, why. */
export const NodeHealth = Schema.Struct({ ready: Schema.Boolean, reasons: Schema.Array(Schema.String) })
export type NodeHealth = typeof NodeHealth.Type

const commands = RpcGroup.make(
  Rpc.make("dispatch", { payload: { command: Command }, success: Receipt, error: CommandError }),
  /** One result a command, in order; the call itself fails only where none of them was looked at. */
  Rpc.make("dispatchMany", {
    payload: { commands: Schema.Array(Command) },
    success: Schema.Array(Schema.Result(Receipt, CommandError)),
    error: CommandError
  }),
  /** Which shards the node owns, so that a caller can give it the commands of their accounts. */
  Rpc.make("ownedShards", { success: OwnedShards, error: CommandError })
).annotateRpcs(RequiredScope, "command")

/** The options of `events`, which only peers have: in process a host reads pages of `history`. */
const accountEventsFields = { after: Schema.optional(AfterVersion), follow: Schema.optional(Schema.Boolean) }

type AccountEventsPayload = { readonly account: string } & Schema.Struct.Type<typeof accountEventsFields>

/** Checks the arguments of `events` as those of a query. */
export const readAccountEventsArguments = makeReadArguments("events", {
  about: "account",
  fields: accountEventsFields,
  laterNames: {},
  rule: undefined
}) as (args: ReadonlyArray<unknown>) => Result.Result<AccountEventsPayload, InvalidCommand> // of these very fields

const forPeers = RpcGroup.make(
  Rpc.make("health", { success: NodeHealth, error: QueryError }),
  /** The events of an account above version `after`, oldest first; with `follow` it goes on as they happen. */
  Rpc.make("events", {
    payload: { account: Schema.String, ...accountEventsFields },
    success: HistoryEntry,
    error: QueryError,
    stream: true
  })
).annotateRpcs(RequiredScope, "read")

type Queries = typeof ledgerQueries
type Payload<Name extends QueryName> = keyof PayloadFields<Name> extends never
  ? Schema.Void
  : Schema.Struct<PayloadFields<Name>>
/** The procedure of a query, as `Rpc.make` would type it if it were written out. */
type QueryRpc<Name extends QueryName> = Queries[Name]["isStream"] extends true
  ? Rpc.Rpc<Name, Payload<Name>, RpcSchema.Stream<Queries[Name]["answer"], typeof QueryError>>
  : Rpc.Rpc<Name, Payload<Name>, Queries[Name]["answer"], typeof QueryError>
type QueryRpcs = { readonly [Name in QueryName]: QueryRpc<Name> }[QueryName]

const queryRpc = (name: QueryName, query: AnyQuery) => {
  const payload = payloadFieldsOf(query)
  return Rpc.make(name, {
    success: query.answer,
    error: QueryError,
    stream: query.isStream,
    ...(payload === undefined ? {} : { payload })
  }).annotate(RequiredScope, query.scope)
}

const queries = RpcGroup.make(
  // A loop over the table forgets which name has which types.
  ...(queryEntries.map(([name, query]) =>
    queryRpc(name, query)
  ) as ReadonlyArray<Rpc.Any> as ReadonlyArray<QueryRpcs>)
)

/** What answers the procedures of the queries. */
export type QueryHandlers = { readonly [Name in QueryName]: Rpc.ToHandlerFn<QueryRpc<Name>, never> }

export const LedgerRpc = commands.merge(queries, forPeers)

/** The names of all procedures. */
export type Procedure = RpcGroup.Rpcs<typeof LedgerRpc>["_tag"]

const rpcOf = (procedure: Procedure) => {
  const rpc = LedgerRpc.requests.get(procedure)
  if (rpc === undefined) throw new Error(`no procedure ${procedure}`)
  return rpc
}

export const isProcedure = (tag: string): tag is Procedure => LedgerRpc.requests.has(tag)

/** Known before anything of a call's payload is read; throws where a procedure has none. */
export const scopeOf = (procedure: Procedure): Scope =>
  Context.getUnsafe(rpcOf(procedure).annotations, RequiredScope)

/** Whether the answer is a stream, which may stay open for long. */
export const isStreaming = (procedure: Procedure): boolean =>
  RpcSchema.isStreamSchema(rpcOf(procedure).successSchema)
