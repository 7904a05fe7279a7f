/**
 * Plays a day against a ledger: sends its commands, several at a time, and counts their outcomes. The end state is that
 * of the file's order on every run, however often a play is killed and begun again; `play` says why.
 */
import { createHash } from "node:crypto"
import { Clock, Data, Deferred, Effect, Result, Stream } from "effect"
import type { PlatformError } from "effect/PlatformError"
import { mayTouchAny } from "../domain/BatchOrder.ts"
import { type AskedCommand, accountsOf } from "../domain/Command.ts"
import {
  type CommandError,
  type Indeterminate,
  type Overloaded,
  type QueryError,
  Unavailable
} from "../domain/Errors.ts"
import { hashCommand } from "../domain/HashChain.ts"
import { formatMoney } from "../domain/Money.ts"
import type { Receipt } from "../domain/Receipt.ts"
import type { Assertion } from "./DayCommand.ts"
import type { LineFault } from "./DayFields.ts"
import type { DayLine } from "./DayFile.ts"
import type { PlayJournal } from "./PlayJournal.ts"

export interface PlayOptions {
  readonly dispatch: (command: AskedCommand) => Effect.Effect<Receipt, CommandError>
  /** What the books come to where an assertion stands; see `Reached`. Without it no assertion holds. */
  readonly balanceOf?: (assertion: Assertion, reached: Reached) => Effect.Effect<bigint, QueryError>
  readonly journal: PlayJournal
  /** Most commands that are in flight or wait for one that is; default 64. */
  readonly concurrency?: number
  /** How long one command is sent again while the ledger cannot take it, in milliseconds; default 60 s. */
  readonly patienceMs?: number
  /** Most faults, and most refusals, that are listed; all are counted. Default 1,000. */
  readonly listedMax?: number
  /** Called once for each line, in the order of the outcomes; for progress. */
  readonly onSettled?: (settled: Settled) => Effect.Effect<void>
}

/**
 * How far the lines before an assertion have brought the books, as their receipts say. A replayed line has the receipt of
 * its first time, so that an assertion is judged by the same books whenever the day is played.
 */
interface Reached {
  /** The version of the account that is asserted, where an accepted line before named it. */
  readonly version: number | undefined
  /** The latest instant at which a line before was recorded; undefined where none was accepted. */
  readonly recordedAt: number | undefined
}

/** The outcome of a line. */
type Settled = Data.TaggedEnum<{
  Accepted: { readonly line: number; readonly command: AskedCommand; readonly receipt: Receipt }
  /** `remembered`: the command was refused in an earlier life of this play, and was not sent again. */
  Refused: {
    readonly line: number
    readonly command: AskedCommand
    /** The tag of the error. */
    readonly reason: string
    readonly message: string
    readonly remembered: boolean
  }
  Fault: { readonly fault: LineFault }
  Skipped: { readonly line: number }
  Asserted: { readonly line: number; readonly failure: FailedAssertion | undefined }
}>
const Settled = Data.taggedEnum<Settled>()

/** A line whose command the ledger refused. */
interface RefusedLine {
  readonly line: number
  /** The command's. */
  readonly id: string
  /** The tag of the error. */
  readonly reason: string
  readonly message: string
}

/** A line that says what the books come to, where they come to something else. */
interface FailedAssertion {
  readonly line: number
  readonly message: string
}

export interface PlayResult {
  readonly commands: number
  /** Accepted now, for the first time. */
  readonly accepted: number
  /** Answered with the outcome of an earlier sending of the same id. */
  readonly replayed: number
  /** Number of commands that were accepted, now or earlier, by their kind. */
  readonly kinds: { readonly [kind: string]: number }
  /** The first account of the file on which a hold was placed, and its hold. */
  readonly hold: { readonly account: string; readonly id: string } | undefined
  /** Number of refused commands by the tag of the error. */
  readonly refused: { readonly [reason: string]: number }
  /** In the order of the file, the first `listedMax` of them. */
  readonly refusals: ReadonlyArray<RefusedLine>
  readonly refusedCount: number
  /** In the order of the file, the first `listedMax` of them. */
  readonly faults: ReadonlyArray<LineFault>
  readonly faultCount: number
  /** Number of lines at fault by the reason. */
  readonly faulty: { readonly [reason: string]: number }
  /** Lines with an amount of zero: nothing was done. */
  readonly skipped: number
  readonly assertions: number
  /** In the order of the file, the first `listedMax` of them. */
  readonly failedAssertions: ReadonlyArray<FailedAssertion>
  readonly failedAssertionCount: number
  readonly seconds: number
}

/** A command could not be brought to an outcome. Play the same file with the same journal again to go on. */
export class PlayStopped extends Data.TaggedError("PlayStopped")<{
  readonly line: number
  readonly cause: Transient
}> {
  override get message() {
    return `stopped at line ${this.line}: ${this.cause.message}`
  }
}

/** The journal beside the data was written while another file was played. */
export class JournalMismatch extends Data.TaggedError("JournalMismatch")<{ readonly line: number }> {
  override get message() {
    return `the file was changed since it was played on these data: up to line ${this.line} its commands are not those of the journal; play it on other data, or on none`
  }
}

type Transient = Overloaded | Unavailable | Indeterminate

interface Linked {
  readonly line: number
  /**
   * Settled before this task begins: the last tasks before it that share an account or the command id. An assertion shares
   * all accounts: what it is judged by is told by the receipts of all lines before it, and of no line behind it.
   */
  readonly after: ReadonlyArray<Deferred.Deferred<void>>
  readonly settled: Deferred.Deferred<void>
  readonly keys: ReadonlyArray<string>
}

interface CommandTask extends Linked {
  readonly _tag: "CommandTask"
  readonly command: AskedCommand
  readonly ordinal: number
  readonly digest: string
}

interface AssertionTask extends Linked {
  readonly _tag: "AssertionTask"
  readonly assertion: Assertion
}

/**
 * Plays a day so that the end state is that of the file's order, whatever the concurrency and wherever an earlier
 * life of the same play was killed. Why that holds:
 * - Commands that share an account (or the command id) go one after another in the order of the file.
 * - A refusal is durable in the journal before any command that follows it on its accounts is sent, and is not
 *   decided again. So when a life begins, each command is (1) in the log: it answers "replayed"; or (2) in the
 *   journal: it stays refused; or (3) neither, and then no command after it on its accounts was ever sent, so that
 *   it is decided on the very state that an undisturbed run would show it.
 *
 * It holds as long as no other client moves these accounts meanwhile, and the journal lives and dies with the
 * ledger's data: a lost journal makes (2) look like (3).
 */
export const play = Effect.fn("DayPlayer.play")(function* <E, R>(
  lines: Stream.Stream<DayLine, E, R>,
  options: PlayOptions
): Effect.fn.Return<PlayResult, E | PlayStopped | JournalMismatch | PlatformError, R> {
  const { concurrency = 64, onSettled = () => Effect.void } = options
  const startedAt = yield* Clock.currentTimeMillis
  const tally = makeTally(options.listedMax ?? 1_000)
  const link = makeLinker()
  const reached = makeReached()

  yield* lines.pipe(
    // Linked in the order of the file, before anything is run concurrently.
    Stream.map((line): CommandTask | AssertionTask | Unlinked => {
      if (line._tag === "Command") return link.command(line.line, line.command)
      return line._tag === "Assertion" ? link.assertion(line.line, line.assertion) : line
    }),
    // Effects start in the order of the file, so what a task waits for always runs already.
    Stream.mapEffect(
      (item): Effect.Effect<Settled, PlayStopped | JournalMismatch | PlatformError> => {
        switch (item._tag) {
          case "Fault":
            return Effect.succeed(Settled.Fault({ fault: item.fault }))
          case "Skipped":
            return Effect.succeed(Settled.Skipped({ line: item.line }))
          case "AssertionTask":
            return Effect.tap(judge(item, reached, options), () => link.release(item))
          case "CommandTask":
            return Effect.tap(settle(item, options), (settled) => {
              if (settled._tag === "Accepted") reached.add(settled.receipt)
              return link.release(item)
            })
        }
      },
      { concurrency, unordered: true }
    ),
    Stream.runForEach((settled) => {
      tally.add(settled)
      return onSettled(settled)
    })
  )
  const seconds = ((yield* Clock.currentTimeMillis) - startedAt) / 1_000
  return { ...tally.result(), seconds }
})

/** An exchange is told from other journals. */
const kindOf = (command: AskedCommand): string =>
  command._tag === "PostJournal" && command.fx !== undefined ? "Exchange" : command._tag

/** Counts the outcomes, and keeps the first of those that a person wants to see. */
const makeTally = (listedMax: number) => {
  const counts = {
    commands: 0,
    accepted: 0,
    replayed: 0,
    refusedCount: 0,
    faultCount: 0,
    skipped: 0,
    assertions: 0,
    failedAssertionCount: 0
  }
  const refused = new Map<string, number>()
  const kinds = new Map<string, number>()
  const holds = makeFirstLines<{ readonly line: number; readonly account: string; readonly id: string }>(1)
  const refusals = makeFirstLines<RefusedLine>(listedMax)
  const faults = makeFirstLines<LineFault>(listedMax)
  const faulty = new Map<string, number>()
  const failures = makeFirstLines<FailedAssertion>(listedMax)

  const add = (settled: Settled): void => {
    switch (settled._tag) {
      case "Fault":
        counts.faultCount++
        faulty.set(settled.fault.reason, (faulty.get(settled.fault.reason) ?? 0) + 1)
        faults.add(settled.fault)
        return
      case "Skipped":
        counts.skipped++
        return
      case "Asserted":
        counts.assertions++
        if (settled.failure === undefined) return
        counts.failedAssertionCount++
        failures.add(settled.failure)
        return
      case "Accepted":
        counts.commands++
        counts[settled.receipt.replayed ? "replayed" : "accepted"]++
        kinds.set(kindOf(settled.command), (kinds.get(kindOf(settled.command)) ?? 0) + 1)
        if (settled.command._tag === "PlaceHold")
          holds.add({ line: settled.line, account: settled.command.account, id: settled.command.commandId })
        return
      case "Refused": {
        const { line, command, reason, message } = settled
        counts.commands++
        counts.refusedCount++
        refused.set(reason, (refused.get(reason) ?? 0) + 1)
        refusals.add({ line, id: command.commandId, reason, message })
      }
    }
  }
  const result = (): Omit<PlayResult, "seconds"> => ({
    ...counts,
    kinds: byName(kinds),
    hold: holds.list()[0],
    refused: byName(refused),
    refusals: refusals.list(),
    faulty: byName(faulty),
    faults: faults.list(),
    failedAssertions: failures.list()
  })
  return { add, result }
}

/** Keeps the entries of the first `max` lines of the file, whatever the order in which they are added. */
const makeFirstLines = <A extends { readonly line: number }>(max: number) => {
  let kept: Array<A> = []
  const first = () => kept.toSorted((one, other) => one.line - other.line).slice(0, max)
  return {
    add: (entry: A): void => {
      kept.push(entry)
      // Sorted once in `max` additions.
      if (kept.length > 2 * max) kept = first()
    },
    list: (): ReadonlyArray<A> => first()
  }
}

/** By name, because the order of the outcomes differs from run to run. */
const byName = (counts: ReadonlyMap<string, number>) =>
  Object.fromEntries([...counts].toSorted(([a], [b]) => (a < b ? -1 : 1)))

type Unlinked = Exclude<DayLine, { readonly _tag: "Command" | "Assertion" }>

/** Remembers how far receipts have brought the books. */
const makeReached = () => {
  const versions = new Map<string, number>()
  let recordedAt: number | undefined
  return {
    add: (receipt: Receipt): void => {
      recordedAt = Math.max(recordedAt ?? 0, receipt.recordedAt)
      for (const { account, version } of receipt.postings)
        versions.set(account, Math.max(versions.get(account) ?? 0, version))
    },
    of: ({ of }: Assertion): Reached => ({
      version: "account" in of ? versions.get(of.account) : undefined,
      recordedAt
    })
  }
}

/**
 * Finds for each task the tasks that it must wait for: per account and command id the last one that is not settled. What may touch any
 * account waits for all before it, and all behind wait for it; so does an assertion, but for other assertions.
 */
const makeLinker = () => {
  const last = new Map<string, Deferred.Deferred<void>>()
  /** Those that are not settled of the commands that may touch any account, and of the assertions. */
  const anywhere = new Set<Deferred.Deferred<void>>()
  const assertions = new Set<Deferred.Deferred<void>>()
  let ordinal = 0
  let digest = ""
  const linkTo = (
    line: number,
    keys: ReadonlyArray<string>,
    others: Iterable<Deferred.Deferred<void>>
  ): Linked => {
    const settled = Deferred.makeUnsafe<void>()
    const after = new Set([...keys.flatMap((key) => last.get(key) ?? []), ...others])
    for (const key of keys) last.set(key, settled)
    return { line, after: [...after], settled, keys }
  }
  // Account and command ids share an alphabet, which has neither of the two signs.
  const keyOf = (account: string) => `@${account}`
  const command = (line: number, command: AskedCommand): CommandTask => {
    ordinal++
    digest = createHash("sha256").update(digest).update(hashCommand(command)).digest("base64url")
    const keys = [`#${command.commandId}`, ...accountsOf(command).map(keyOf)]
    // Which accounts it pays stands in its hold, or in its original, alone: it shares all of them.
    const sharesAll = command._tag === "Reverse" || mayTouchAny(command)
    const linked = linkTo(line, keys, [...anywhere, ...assertions, ...(sharesAll ? last.values() : [])])
    if (sharesAll) anywhere.add(linked.settled)
    return { _tag: "CommandTask", ...linked, command, ordinal, digest }
  }
  const assertion = (line: number, assertion: Assertion): AssertionTask => {
    const linked = linkTo(line, [], [...anywhere, ...last.values()])
    assertions.add(linked.settled)
    return { _tag: "AssertionTask", ...linked, assertion }
  }
  const release = ({ keys, settled }: Linked) => {
    for (const key of keys) if (last.get(key) === settled) last.delete(key)
    anywhere.delete(settled)
    assertions.delete(settled)
    return Deferred.succeed(settled, undefined)
  }
  return { command, assertion, release }
}

const nothingToAsk = new Unavailable({ what: "this player", reason: "it was given no ledger to ask" })

/**
 * Compares what the books come to with what the file says. A read side that is behind is waited for; a balance that cannot be had all the
 * same fails the assertion too.
 */
const judge = Effect.fnUntraced(function* (
  { line, assertion, after }: AssertionTask,
  reached: ReturnType<typeof makeReached>,
  options: PlayOptions
) {
  for (const before of after) yield* Deferred.await(before)
  const { balanceOf } = options
  const { of, asset, expected } = assertion
  const name = "account" in of ? of.account : `${of.prefix}*`
  const found =
    balanceOf === undefined
      ? Result.fail(nothingToAsk)
      : yield* patiently(balanceOf(assertion, reached.of(assertion)), options)
  if (Result.isSuccess(found) && found.success === expected)
    return Settled.Asserted({ line, failure: undefined })
  const message = Result.isSuccess(found)
    ? `${name} comes to ${formatMoney(found.success, asset)}, not to ${formatMoney(expected, asset)}`
    : `${name} is to come to ${formatMoney(expected, asset)}: ${found.failure.message}`
  return Settled.Asserted({ line, failure: { line, message } })
})

/** Brings one command to its outcome, and a refusal to the disk. */
const settle = Effect.fnUntraced(function* (task: CommandTask, options: PlayOptions) {
  const { line, command, ordinal, digest } = task
  for (const before of task.after) yield* Deferred.await(before)
  const known = options.journal.refused.get(ordinal)
  if (known !== undefined) {
    if (known.digest !== digest) return yield* new JournalMismatch({ line })
    const { reason, message = reason } = known
    return Settled.Refused({ line, command, reason, message, remembered: true })
  }
  const outcome = yield* send(task, options)
  if (Result.isSuccess(outcome)) return Settled.Accepted({ line, command, receipt: outcome.success })
  const { _tag: reason, message } = outcome.failure
  yield* options.journal.record({ ordinal, digest, reason, message })
  return Settled.Refused({ line, command, reason, message, remembered: false })
})

const isTransient = (error: CommandError | QueryError): error is Transient =>
  error._tag === "Overloaded" || error._tag === "Unavailable" || error._tag === "Indeterminate"

/** What the same question may be answered a little later. */
const passes = (error: CommandError | QueryError): boolean =>
  isTransient(error) || error._tag === "NotYetVisible"

/** Does it again for `patienceMs` while its failure passes; what it came to at last. */
const patiently = Effect.fnUntraced(function* <A, E extends CommandError | QueryError>(
  self: Effect.Effect<A, E>,
  { patienceMs = 60_000 }: PlayOptions
) {
  const giveUpAt = (yield* Clock.currentTimeMillis) + patienceMs
  for (let attempt = 0; ; attempt++) {
    const outcome = yield* Effect.result(self)
    if (Result.isSuccess(outcome) || !passes(outcome.failure)) return outcome
    const error = outcome.failure
    const backoffMs = Math.min(2_000, 20 * 2 ** attempt)
    const waitMs = error._tag === "Overloaded" ? Math.max(backoffMs, error.retryAfterMs) : backoffMs
    if ((yield* Clock.currentTimeMillis) + waitMs > giveUpAt) return outcome
    yield* Effect.sleep(waitMs)
  }
})

/**
 * Sends a command, and sends it again after an error that says that nothing was done or that the outcome is unknown.
 */
const send = Effect.fnUntraced(function* ({ line, command }: CommandTask, options: PlayOptions) {
  const outcome = yield* patiently(options.dispatch(command), options)
  if (Result.isFailure(outcome) && isTransient(outcome.failure))
    return yield* new PlayStopped({ line, cause: outcome.failure })
  return outcome
})
