/** A ledger and a disk that live in memory, outlast a player that is killed, and can kill it at any chosen step. */
import { Effect, FileSystem, Layer, Path, PlatformError, Random, Result } from "effect"
import type { Account } from "../../src/domain/Account.ts"
import type { Command } from "../../src/domain/Command.ts"
import type { Decided } from "../../src/domain/Decide.ts"
import { type CommandError, CommandIdReused } from "../../src/domain/Errors.ts"
import { amountOf } from "../../src/domain/Event.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { reversalIdOf } from "../../src/domain/Original.ts"
import { printToken, type Receipt } from "../../src/domain/Receipt.ts"
import { Books } from "../domain/books.ts"

/** Counts the steps of one life; from step `diesAt` on every further step is the end of it. */
export class Life {
  steps = 0
  readonly diesAt: number
  constructor(diesAt = Number.POSITIVE_INFINITY) {
    this.diesAt = diesAt
  }
  readonly step = Effect.suspend(() =>
    ++this.steps >= this.diesAt ? Effect.die(new Error("killed")) : Effect.void
  )
  get dead() {
    return this.steps >= this.diesAt
  }
}

/** The end state that must not depend on how the day was played. */
export interface EndState {
  readonly accounts: ReadonlyMap<string, Account>
  /** For each account the ids of its commands, in order of its versions. */
  readonly streams: ReadonlyMap<string, ReadonlyArray<string>>
}

interface Accepted {
  readonly hash: string
  readonly receipt: Receipt
  readonly legs: ReadonlyArray<Decided>
}

export class FakeLedger {
  readonly books = new Books()
  readonly streams = new Map<string, Array<string>>()
  readonly #accepted = new Map<string, Accepted>()

  /** One command, at once. */
  run(sent: Command): Result.Result<Receipt, CommandError> {
    const command = sent._tag === "Reverse" ? this.#resolved(sent) : sent
    const hash = hashCommand(sent)
    const known = this.#accepted.get(command.commandId)
    if (known !== undefined) {
      return known.hash === hash
        ? Result.succeed({ ...known.receipt, replayed: true })
        : Result.fail(new CommandIdReused({ commandId: command.commandId }))
    }
    // A millisecond a command, so that holds expire.
    this.books.now++
    return Result.map(this.books.run(command), (legs) => {
      const postings = legs.map(({ account }) => {
        this.streams.set(account, [...(this.streams.get(account) ?? []), command.commandId])
        return { account, version: this.books.stateOf(account).version, hash: "" }
      })
      const { commandId } = command
      const receipt = { commandId, replayed: false, recordedAt: 0, postings, readToken: printToken(postings) }
      this.#accepted.set(commandId, { hash, receipt, legs })
      return receipt
    })
  }

  /** The first reversal of a command between accounts of the books, with what the log says of that. */
  #resolved(command: Extract<Command, { readonly _tag: "Reverse" }>): Command {
    const { original } = command
    const nets = new Map<AccountId, bigint>()
    for (const { account, event } of this.#accepted.get(original)?.legs ?? [])
      nets.set(account, (nets.get(account) ?? 0n) + amountOf(event))
    const legs = [...nets].flatMap(([account, net]) => {
      const state = this.books.stateOf(account)
      return state._tag === "Opened" ? [{ account, asset: state.asset, net, reversed: 0n }] : []
    })
    const found = { legs, isNext: true }
    return { ...command, commandId: reversalIdOf(original, 1), ...(legs.length === 0 ? {} : { found }) }
  }

  /** The same over a network that takes its time, from a player that may die before or after the commit. */
  dispatch(life: Life): (command: Command) => Effect.Effect<Receipt, CommandError> {
    return Effect.fnUntraced(
      function* (this: FakeLedger, command: Command) {
        yield* pause
        yield* life.step
        const outcome = this.run(command)
        yield* life.step
        yield* pause
        return yield* Effect.fromResult(outcome)
      }.bind(this)
    )
  }

  get endState(): EndState {
    return { accounts: this.books.accounts, streams: this.streams }
  }
}

const pause = Effect.flatMap(Random.nextIntBetween(0, 4), (turns) =>
  Effect.replicateEffect(Effect.yieldNow, turns, { discard: true })
)

/** What the file's order means: one command after another. */
export const inOrder = (commands: ReadonlyArray<Command>): EndState => {
  const ledger = new FakeLedger()
  for (const command of commands) ledger.run(command)
  return ledger.endState
}

/** One file. What was written and not synced may be lost, wholly or from any byte on, when the life ends. */
export class FakeDisk {
  #written = new Uint8Array(0)
  #synced = 0
  syncs = 0
  /** How many writes there is room for. */
  fullAfter = Number.POSITIVE_INFINITY

  /** Loses what was not synced, but for its first `kept` bytes. */
  crash(kept: number): void {
    this.#written = this.#written.slice(0, Math.min(this.#written.length, this.#synced + kept))
    this.#synced = this.#written.length
  }

  readonly #room = Effect.suspend(() =>
    --this.fullAfter < 0
      ? Effect.fail(PlatformError.systemError({ _tag: "WriteZero", module: "FakeDisk", method: "writeAll" }))
      : Effect.void
  )

  layer(life: Life): Layer.Layer<FileSystem.FileSystem | Path.Path> {
    const unused = Effect.die(new Error("not part of this disk"))
    const file: FileSystem.File = {
      [FileSystem.FileTypeId]: FileSystem.FileTypeId,
      stat: unused,
      seek: () => unused,
      read: () => unused,
      readAlloc: () => unused,
      write: () => unused,
      truncate: (length = 0) =>
        Effect.sync(() => {
          this.#written = this.#written.slice(0, length)
        }),
      writeAll: (bytes) =>
        // In two halves, so that a life can end between them.
        Effect.forEach([bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)], (half) =>
          Effect.andThen(
            Effect.andThen(life.step, this.#room),
            Effect.sync(() => {
              this.#written = Uint8Array.from([...this.#written, ...half])
            })
          )
        ),
      sync: Effect.suspend(() => {
        this.syncs++
        // A disk takes its time: others get on meanwhile.
        return Effect.andThen(
          Effect.andThen(Effect.yieldNow, life.step),
          Effect.andThen(
            Effect.sync(() => {
              this.#synced = this.#written.length
            }),
            life.step
          )
        )
      })
    }
    return Layer.merge(
      FileSystem.layerNoop({
        open: () => Effect.succeed(file),
        readFile: () => Effect.sync(() => this.#written.slice())
      }),
      Path.layer
    )
  }
}
