/**
 * Transfers and deposits that stream through a ledger until they are told to stop, each to a definite outcome.
 */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Option, Schedule } from "effect"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { CommandError } from "../../src/domain/Errors.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import { Ledger } from "../../src/Ledger.ts"
import { deposit, openAccount, transfer } from "./eventWriter.ts"
import { Rng } from "./Rng.ts"

export interface SteadyLoad {
  readonly committedUnsafe: () => number
  /** Answers with the read token that were as new as it; each that was not is a failure of the load. */
  readonly freshUnsafe: () => number
  /** Ends when every command under way has its outcome; fails with whatever a client met that must not be. */
  readonly stop: Effect.Effect<void>
}

const isTransient = ({ _tag }: CommandError) =>
  _tag === "Unavailable" || _tag === "Overloaded" || _tag === "Indeterminate"

/** Sent again, under the same id, until the outcome is known: as any client of a ledger does it. */
export const insist = (command: CommandInput) =>
  Effect.flatMap(Ledger, (ledger) =>
    ledger
      .dispatch(command)
      .pipe(Effect.retry({ while: isTransient, schedule: Schedule.spaced("50 millis") }), Effect.option)
  )

export const openAll = (ids: ReadonlyArray<string>, amount: bigint) =>
  Effect.forEach(
    ids,
    (id) =>
      Effect.gen(function* () {
        assert.isTrue(Option.isSome(yield* insist({ ...openAccount(id), commandId: `open-${id}` })))
        assert.isTrue(Option.isSome(yield* insist({ ...deposit(id, amount), commandId: `first-${id}` })))
      }),
    { concurrency: 16, discard: true }
  )

/** Asks at once for what was just written, on both sides; while the stores are away there may be no answer. */
const ask = Effect.fnUntraced(function* ({ postings, readToken }: Receipt) {
  const ledger = yield* Ledger
  let fresh = 0
  for (const { account, version } of postings) {
    const answer = yield* Effect.option(ledger.balance(account, { readToken }))
    if (Option.isNone(answer)) continue
    assert.isAtLeast(answer.value.version, version, "an answer with a token is as new as the token")
    fresh++
  }
  return fresh
})

/** `name` keeps the command ids of one load apart from those of others. */
export const startLoad = Effect.fnUntraced(function* (
  name: string,
  ids: ReadonlyArray<string>,
  { clients = 8, pauseMs = 25, asks = true } = {}
) {
  let committed = 0
  let fresh = 0
  let stopping = false
  const client = (index: number) =>
    Effect.gen(function* () {
      const rng = new Rng(index)
      const one = () => ids[rng.below(ids.length)] ?? ""
      for (let nth = 0; !stopping; nth++) {
        const [from, to] = [one(), one()]
        const command =
          from === to ? deposit(from, BigInt(1 + rng.below(9))) : transfer(from, to, BigInt(1 + rng.below(9)))
        const receipt = yield* insist({ ...command, commandId: `${name}-${index}-${nth}` })
        if (Option.isNone(receipt)) continue
        committed++
        // Added at once: other clients have counted meanwhile.
        const answered = asks && nth % 5 === 0 ? yield* ask(receipt.value) : 0
        fresh += answered
        // Paced, so that the log stays small enough to be folded after each case.
        yield* Effect.sleep(pauseMs)
      }
    })
  const clientsRunning = yield* Effect.forkChild(
    Effect.forEach(Array.from({ length: clients }), (_, index) => client(index), {
      concurrency: "unbounded",
      discard: true
    })
  )
  return {
    committedUnsafe: () => committed,
    freshUnsafe: () => fresh,
    stop: Effect.suspend(() => {
      stopping = true
      return Fiber.join(clientsRunning)
    })
  } satisfies SteadyLoad
})
