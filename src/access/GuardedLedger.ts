/**
 * The ledger as a caller from outside may use it: each method first checks that the caller may name what it names, and each answer
 * is without what the caller may not see. RPC and HTTP serve these methods, so that both refuse the same calls.
 */
import { Clock, Effect, Predicate, Result, type Stream } from "effect"
import { AccountPages, AccountWatch, accountEvents } from "../AccountEvents.ts"
import { unwrapSource } from "../actors/subscriptions/ItemSource.ts"
import { inWordsOfInstants, withInstants } from "../CommandJson.ts"
import { dispatchChecked } from "../CommandMethods.ts"
import { fromJson } from "../domain/Command.ts"
import { type CommandError, InvalidCommand, type QueryError } from "../domain/Errors.ts"
import { printToken, type Receipt } from "../domain/Receipt.ts"
import { isOfHuge, type Sought } from "../domain/StrictDecoding.ts"
import type { HistoryEntry } from "../domain/Views.ts"
import { makeTurns, mapInTurns } from "../infra/config/Elapsed.ts"
import { Ledger } from "../Ledger.ts"
import { askMethod, type QueryName, queryOf } from "../QueryMethods.ts"
import { Authenticator } from "./Authenticator.ts"
import { concealRefusal, permitAccount, permitCommand, permitQuery } from "./Authorization.ts"
import { RefusalLog } from "./RefusalLog.ts"
import { type Caller, mayName } from "./Tokens.ts"

export interface GuardedLedger {
  /** `command`: JSON that its sender takes for a command; the ledger checks it. */
  readonly dispatch: (caller: Caller, command: unknown) => Effect.Effect<Receipt, CommandError>
  /**
   * One result a command, in order. The whole fails only where none of them was looked at. `furtherCalls` (default -1, for the one
   * that was admitted) count against the caller's rate besides the commands.
   */
  readonly dispatchMany: (
    caller: Caller,
    commands: ReadonlyArray<unknown>,
    furtherCalls?: number
  ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>, CommandError>
  /** Asks a query whose answer is no stream. */
  readonly ask: (caller: Caller, name: QueryName, payload: unknown) => Effect.Effect<unknown, QueryError>
  /** Fails where the caller may not ask so. */
  readonly permit: (caller: Caller, name: QueryName, payload: unknown) => Effect.Effect<void, QueryError>
  /** Asks a query whose answer is a stream. */
  readonly follow: (caller: Caller, name: QueryName, payload: unknown) => Stream.Stream<unknown, QueryError>
  /** The events of an account above version `after`; with `followMs` they go on as they happen. */
  readonly events: (
    caller: Caller,
    asked: { readonly account: string; readonly after: number; readonly followMs: number | undefined }
  ) => Stream.Stream<HistoryEntry, QueryError>
}

/** A capture pays the account that its hold was placed for, which may be none that the caller may name. */
const concealOthers = (caller: Caller, receipt: Receipt): Receipt => {
  const postings = receipt.postings.filter(({ account }) => mayName(caller, account))
  return postings.length === receipt.postings.length
    ? receipt
    : { ...receipt, postings, readToken: printToken(postings) }
}

/**
 * The faults of a command in the words of JSON, where amounts are strings and instants may be: the ledger has seen it as a host's value.
 * All are looked for where it told several; of one among many faulty commands it looked for the first alone.
 */
const inWordsOfJson = (command: unknown, error: CommandError): CommandError => {
  if (error._tag !== "InvalidCommand" || isOfHuge(error) || !Predicate.isObject(command)) return error
  const checked = fromJson(
    { commandId: "none", ...withInstants(command) },
    error.faults.length > 1 ? "all" : "first"
  )
  return Result.isFailure(checked)
    ? new InvalidCommand({ faults: checked.failure.faults.map(inWordsOfInstants(command)) })
    : error
}

/** What a command came to, as the caller may learn it. */
const asToldTo = (caller: Caller, command: unknown) => ({
  onFailure: (error: CommandError) => concealRefusal(caller, inWordsOfJson(command, error)),
  onSuccess: (receipt: Receipt) => concealOthers(caller, receipt)
})

/** The commands that are to be decided: those of a group, else one. */
const callsOf = (command: unknown): number => {
  const members = Predicate.hasProperty(command, "commands") ? command.commands : undefined
  return Array.isArray(members) ? Math.max(1, members.length) : 1
}

/** `server` stands before each refusal in the log; `batchMax` bounds the commands of one `dispatchMany`. */
export const makeGuardedLedger = Effect.fnUntraced(function* (server: "rpc" | "http", batchMax: number) {
  const ledger = yield* Ledger
  const authenticator = yield* Authenticator
  const refusals = yield* RefusalLog
  const watchAccount = yield* AccountWatch
  const joinPaged = yield* AccountPages
  const clock = yield* Clock.Clock

  /** The same permit as an effect, which logs who was refused and why. */
  const permitted = <A, E extends { readonly _tag: string; readonly message: string }>(
    caller: Caller,
    permit: Result.Result<A, E>
  ): Effect.Effect<A, E> =>
    Result.isSuccess(permit) || permit.failure._tag !== "Forbidden"
      ? Effect.fromResult(permit)
      : Effect.andThen(refusals.log(server, caller.name, permit.failure.message), Effect.fromResult(permit))

  const permittedQuery = (caller: Caller, name: QueryName, payload: unknown) =>
    permitted(caller, permitQuery(caller, queryOf(name), payload))

  /** The first call was counted when it was admitted. */
  const charge = (caller: Caller, calls: number): Effect.Effect<void, CommandError> =>
    calls <= 0
      ? Effect.void
      : Effect.suspend(() => Effect.fromResult(authenticator.chargeUnsafe(caller, calls)))

  return {
    dispatch: (caller, command) =>
      charge(caller, callsOf(command) - 1).pipe(
        Effect.andThen(permitted(caller, permitCommand(caller, command))),
        Effect.flatMap(ledger.dispatch),
        Effect.mapBoth(asToldTo(caller, command))
      ),
    dispatchMany: Effect.fnUntraced(function* (caller, commands, furtherCalls = -1) {
      if (commands.length > batchMax)
        return yield* InvalidCommand.at("commands", `has ${commands.length}, at most ${batchMax} are taken`)
      yield* charge(
        caller,
        commands.reduce<number>((sum, command) => sum + callsOf(command), furtherCalls)
      )
      const permit = (command: unknown, sought: Sought) =>
        permitted(caller, permitCommand(caller, command, sought))
      const results = yield* dispatchChecked(commands, permit, ledger.dispatchMany)
      const tell = (result: (typeof results)[number], nth: number) =>
        Result.mapBoth(result, asToldTo(caller, commands[nth]))
      return yield* mapInTurns(results, tell, makeTurns(clock))
    }),
    ask: (caller, name, payload) => {
      // The table says that the answer is no stream.
      const ask = () => askMethod(ledger, name, payload) as Effect.Effect<unknown, QueryError>
      const answer = Effect.flatMap(permittedQuery(caller, name, payload), ask)
      const { conceal } = queryOf(name)
      return conceal === undefined
        ? answer
        : Effect.map(answer, (found) => conceal(found, (account) => mayName(caller, account)))
    },
    permit: (caller, name, payload) => Effect.asVoid(permittedQuery(caller, name, payload)),
    follow: (caller, name, payload) => {
      // The table says that the answer is a stream.
      const follow = () => askMethod(ledger, name, payload) as Stream.Stream<unknown, QueryError>
      return unwrapSource(Effect.map(permittedQuery(caller, name, payload), follow))
    },
    events: (caller, asked) =>
      unwrapSource(
        Effect.map(permitted(caller, permitAccount(caller, asked.account)), () =>
          accountEvents(ledger, asked, watchAccount, joinPaged)
        )
      )
  } satisfies GuardedLedger
})
