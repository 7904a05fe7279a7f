/** `parked`, `parked retry` and `parked skip`: list, retry and skip the events that a projection could not take. */
import { Data, Effect, Option } from "effect"
import { ProjectionEngine } from "../../actors/projections/ProjectionEngine.ts"
import { printInstant } from "../../domain/Ids.ts"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import { type Parked, ReadModel } from "../../infra/readmodel/ReadModel.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { makeOutput, type Output, printJson } from "../Output.ts"
import type { ParkedFlags, RetryFlags, SkipFlags } from "../parked.ts"
import { resolveStores } from "./services.ts"

class AccountNotParked extends Data.TaggedError("AccountNotParked")<{ readonly account: string }> {
  override get message() {
    return `account ${this.account} is not parked`
  }
}

/** Some of the retried accounts failed again. */
class StillParked extends Data.TaggedError("StillParked")<{
  readonly accounts: number
  readonly reason: string
}> {
  override get message() {
    return `${this.accounts === 1 ? "one account is" : `${this.accounts} accounts are`} still parked: ${this.reason}`
  }
}

/** Beside running nodes: they take over within one sweep what is done here. */
const bookkeeping = <A, E, R>(data: Option.Option<string>, self: Effect.Effect<A, E, R>) =>
  Effect.flatMap(resolveStores(data), (stores) =>
    self.pipe(Effect.provide(ProjectionEngine.layer), Effect.provide(LedgerNode.layerReader(stores)))
  ).pipe(Effect.scoped, Effect.provide(limitsFromEnvironment))

const printParked = (output: Output, rows: ReadonlyArray<Parked>) =>
  output.table(
    rows.map((row) => [row.account, String(row.version), printInstant(row.since), row.reason]),
    "lrll"
  )

export const retry = Effect.fnUntraced(function* ({ account, data, json }: RetryFlags) {
  const output = makeOutput(json)
  yield* bookkeeping(
    data,
    Effect.gen(function* () {
      const before = yield* (yield* ReadModel).parked
      const asked = before.filter((row) => Option.isNone(account) || row.account === account.value)
      if (Option.isSome(account) && asked.length === 0) {
        return yield* new AccountNotParked({ account: account.value })
      }
      const still = yield* (yield* ProjectionEngine).retryParked(asked.map((row) => row.account))
      const left = still.filter((row) => asked.some((one) => one.account === row.account))
      const released = asked.filter((row) => !left.some((one) => one.account === row.account))
      yield* output.line(`${released.length} of ${asked.length} accounts go on.`)
      yield* printParked(output, left)
      if (json) yield* printJson({ released: released.map((row) => row.account), parked: left })
      const [first] = left
      if (first !== undefined) yield* new StillParked({ accounts: left.length, reason: first.reason })
    })
  )
})

export const skip = Effect.fnUntraced(function* ({ account, version, data, json }: SkipFlags) {
  const output = makeOutput(json)
  yield* bookkeeping(
    data,
    Effect.gen(function* () {
      yield* (yield* ProjectionEngine).skipParked(account, version)
      const parked = (yield* (yield* ReadModel).parked).filter((row) => row.account === account)
      yield* output.line(
        `Version ${version} of ${account} is left out of its statement; "verify" reports it.`
      )
      yield* printParked(output, parked)
      if (json) yield* printJson({ account, version, parked })
    })
  )
})

export const list = Effect.fnUntraced(function* ({ data, json }: ParkedFlags) {
  const output = makeOutput(json)
  yield* bookkeeping(
    data,
    Effect.gen(function* () {
      const readModel = yield* ReadModel
      const [rows, skipped] = [yield* readModel.parked, yield* readModel.skipped]
      yield* output.line(
        rows.length === 0 ? "No account is parked." : "Parked, at the version that holds it up:"
      )
      yield* printParked(output, rows)
      if (skipped.length > 0) yield* output.line("Left out for ever:")
      yield* printParked(output, skipped)
      if (json) yield* printJson({ parked: rows, skipped })
    })
  )
})
