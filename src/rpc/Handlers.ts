/** Admitted calls enter, each with its caller; the ledger does what that caller may, and its answer leaves. */
import { Effect, Option, Result, Stream } from "effect"
import type { CommandInput } from "../domain/Command.ts"
import { type CommandError, InvalidCommand } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"
import { Ledger, type Past } from "../Ledger.ts"
import { permitAccount, permitCommand, permitWhole } from "./Access.ts"
import { accountEvents } from "./AccountEvents.ts"
import { Gate } from "./Gate.ts"
import { LedgerRpc } from "./LedgerRpc.ts"
import { Refusals } from "./Refusals.ts"
import { RpcConfig } from "./RpcLimits.ts"
import { type Caller, mayName } from "./Tokens.ts"

interface Called {
  readonly headers: Readonly<Record<string, string>>
}

export const handlers = LedgerRpc.toLayer(
  Effect.gen(function* () {
    const ledger = yield* Ledger
    const gate = yield* Gate
    const refusals = yield* Refusals
    const limits = yield* RpcConfig

    /** A refusal is logged with who was refused and why. */
    const permitted = <A, E extends { readonly _tag: string; readonly message: string }>(
      caller: Caller,
      permit: Result.Result<A, E>
    ): Effect.Effect<A, E> =>
      Result.isSuccess(permit) || permit.failure._tag !== "Forbidden"
        ? Effect.fromResult(permit)
        : Effect.andThen(refusals.log(caller.name, permit.failure.message), Effect.fromResult(permit))

    /** A question about one account. */
    const about = ({ headers }: Called, account: string) => {
      const caller = gate.callerOf(headers)
      return permitted(caller, permitAccount(caller, account))
    }
    /** A question about all of them. */
    const whole = ({ headers }: Called) => {
      const caller = gate.callerOf(headers)
      return permitted(caller, permitWhole(caller))
    }

    /** A subscription to some accounts, or to all of them. */
    const permittedPrefix = ({ headers }: Called, prefix: string | undefined) => {
      const caller = gate.callerOf(headers)
      const own = caller.accounts?.some((allowed) => prefix?.startsWith(allowed) === true)
      return permitted(caller, own === true ? Result.succeed(undefined) : permitWhole(caller))
    }

    const dispatchMany = Effect.fnUntraced(function* (caller: Caller, wires: ReadonlyArray<unknown>) {
      if (wires.length > limits.batchMax)
        return yield* InvalidCommand.at(
          "commands",
          `has ${wires.length}, at most ${limits.batchMax} are taken`
        )
      yield* Effect.fromResult(gate.chargeUnsafe(caller, wires.length - 1))
      const permits = yield* Effect.forEach(wires, (wire) =>
        Effect.result(permitted(caller, permitCommand(caller, wire)))
      )
      const allowed: Array<CommandInput> = []
      for (const permit of permits) if (Result.isSuccess(permit)) allowed.push(permit.success)
      const results = yield* ledger.dispatchMany(allowed)
      let next = 0
      return permits.map((permit): Result.Result<Receipt, CommandError> => {
        if (Result.isFailure(permit)) return Result.fail(permit.failure)
        const result = results[next++]
        if (result === undefined) throw new Error("a command of a batch has no result")
        return result
      })
    })

    return LedgerRpc.of({
      dispatch: ({ command }, { headers }) => {
        const caller = gate.callerOf(headers)
        return Effect.flatMap(permitted(caller, permitCommand(caller, command)), ledger.dispatch)
      },
      dispatchMany: ({ commands }, { headers }) => dispatchMany(gate.callerOf(headers), commands),
      balance: ({ account, readToken }, call) =>
        Effect.flatMap(about(call, account), () => ledger.balance(account, { readToken })),
      strongBalance: ({ account }, call) => Effect.flatMap(about(call, account), ledger.strongBalance),
      balanceAt: ({ account, version, recordedAt }, call) =>
        Effect.flatMap(about(call, account), () =>
          Effect.flatMap(pastOf(version, recordedAt), (past) => ledger.balanceAt(account, past))
        ),
      history: ({ account, after, limit }, call) =>
        Effect.flatMap(about(call, account), () => ledger.history(account, defined({ after, limit }))),
      statement: ({ account, ...asked }, call) =>
        Effect.flatMap(about(call, account), () => ledger.statement(account, asked)),
      transfer: ({ commandId, readToken }, { headers }) => {
        const caller = gate.callerOf(headers)
        // Who is no party of a transfer does not learn that it exists.
        return Effect.map(
          ledger.transfer(commandId, { readToken }),
          Option.filter(({ from, to }) => mayName(caller, from) || mayName(caller, to))
        )
      },
      accounts: (asked, call) => Effect.andThen(whole(call), ledger.accounts(asked)),
      contraBalances: (_, call) => Effect.andThen(whole(call), ledger.contraBalances),
      trialBalance: (_, call) => Effect.andThen(whole(call), ledger.trialBalance),
      trialBalanceAt: (asked, call) => Effect.andThen(whole(call), ledger.trialBalanceAt(asked)),
      stats: (_, call) => Effect.andThen(whole(call), ledger.stats),
      health: () =>
        Effect.map(ledger.stats, ({ trouble }) => ({
          ready: trouble === undefined,
          reasons: trouble === undefined ? [] : [`event store: ${trouble}`]
        })),
      subscribe: (asked, call) =>
        Stream.unwrap(Effect.map(permittedPrefix(call, asked.accountPrefix), () => ledger.subscribe(asked))),
      events: ({ account, after, follow }, call) =>
        Stream.unwrap(
          Effect.map(about(call, account), () =>
            accountEvents(ledger, {
              account,
              after: after ?? 0,
              followMs: follow === true ? limits.followMs : undefined
            })
          )
        )
    })
  })
)

const pastOf = (
  version: number | undefined,
  recordedAt: number | undefined
): Effect.Effect<Past, InvalidCommand> => {
  if (version !== undefined && recordedAt === undefined) return Effect.succeed({ version })
  if (recordedAt !== undefined && version === undefined) return Effect.succeed({ recordedAt })
  return Effect.fail(InvalidCommand.at("version", "give exactly one of version and recordedAt"))
}

/** The same without its undefined fields. */
const defined = (page: { readonly after?: number | undefined; readonly limit?: number | undefined }) => ({
  ...(page.after === undefined ? {} : { after: page.after }),
  ...(page.limit === undefined ? {} : { limit: page.limit })
})
