/** Runs a demo on a node: plays a day's file, waits for the read model, and judges the result by every invariant. */
import { Clock, Duration, Effect, Option, Path, Schedule, Stream } from "effect"
import { Audit, type AuditReport } from "../actors/audit/Audit.ts"
import type { DispatcherStats } from "../actors/commands/Dispatcher.ts"
import type { CommandInput } from "../domain/Command.ts"
import { InvalidCommand } from "../domain/Errors.ts"
import { hashCommand } from "../domain/HashChain.ts"
import { type Position, printToken } from "../domain/Receipt.ts"
import { makeDirectories } from "../infra/dev/Directories.ts"
import { Queries } from "../infra/readmodel/Queries.ts"
import { ReadModel } from "../infra/readmodel/ReadModel.ts"
import { Ledger } from "../Ledger.ts"
import { readDayFile } from "./DayFile.ts"
import { type PlayOptions, type PlayResult, play } from "./DayPlayer.ts"
import { grouped, makeProgress } from "./Output.ts"
import { openPlayJournal } from "./PlayJournal.ts"
import { makeWitness } from "./Witness.ts"

/** Positions of one read token, and how long the read model may take to catch up with them. */
const positionsMax = 100
const catchUpMsDefault = 120_000

export interface DemoOptions {
  readonly file: string
  /** The directory where refusals are kept, one journal for each day; lives and dies with the data. */
  readonly journals: string
  /** Commands a second, to watch it; as fast as it goes if absent. */
  readonly rate?: number | undefined
  /** How long the read model may take to catch up with a hundred accounts, in milliseconds; two minutes if absent. */
  readonly catchUpMs?: number
  /** Called after each settled line. */
  readonly onSettled?: (settled: number) => Effect.Effect<void>
}

/** The verdicts I1 … I8, each with its faults. */
export interface Verdicts {
  readonly invariants: Readonly<Record<"I1" | "I2" | "I3" | "I4" | "I5" | "I6" | "I7" | "I8", boolean>>
  readonly faults: ReadonlyArray<string>
  readonly accounts: number
  readonly events: number
}

export interface DemoResult {
  readonly played: PlayResult
  readonly stats: DispatcherStats
  /** How long the read model needed after the last command, in milliseconds; undefined where it did not catch up in time. */
  readonly caughtUpMs: number | undefined
  readonly verdicts: Verdicts
}

/** Plays the file from end to end; the same end state whatever happens on the way and however often it is begun. */
export const runDemo = Effect.fn("demo")(function* (options: DemoOptions) {
  const ledger = yield* Ledger
  const progress = yield* makeProgress
  const witness = yield* makeWitness
  const journal = yield* openJournal(options)
  let settled = 0
  const lines = readDayFile(options.file)
  const paced = options.rate === undefined ? lines : Stream.tap(lines, yield* makePace(options.rate))
  const played = yield* play(paced, {
    dispatch: (command) => witness.watch(command, ledger.dispatch(command satisfies CommandInput)),
    journal,
    balanceOf: askLedger(ledger),
    onSettled: Effect.fnUntraced(function* () {
      settled++
      yield* progress.show(`played ${grouped(settled)} lines`)
      if (options.onSettled !== undefined) yield* options.onSettled(settled)
    })
  }).pipe(Effect.ensuring(progress.clear))
  const stats = yield* ledger.stats
  const patienceMs = options.catchUpMs ?? catchUpMsDefault
  const [took, isCaughtUp] = yield* Effect.timed(catchUp(witness.positions(), patienceMs))
  yield* awaitNotices
  return {
    played,
    stats,
    caughtUpMs: isCaughtUp ? Duration.toMillis(took) : undefined,
    verdicts: yield* judge(witness, isCaughtUp)
  } satisfies DemoResult
})

/** How long the notices of holds that have expired may take, in milliseconds; they change nothing. */
const noticesMs = 10_000

/** Waits until they are written and projected, so that the log has the same events whenever the day is played. */
const awaitNotices = Effect.gen(function* () {
  const books = yield* ReadModel
  const before = (yield* Clock.currentTimeMillis) + 1
  const left = books.holdsByExpiry({ after: { expiresAt: 0, account: "", hold: "" }, before, limit: 1 })
  yield* left.pipe(
    Effect.repeat({ schedule: Schedule.spaced(50), until: ({ length }) => length === 0 }),
    Effect.timeoutOption(noticesMs),
    Effect.ignore
  )
})

/** The balance of an account at the version that the lines before have brought it to; the sum of a prefix as of then. */
export const askLedger =
  (ledger: Ledger["Service"]): NonNullable<PlayOptions["balanceOf"]> =>
  ({ of, asset }, { version, recordedAt }) =>
    Effect.gen(function* () {
      if ("prefix" in of) {
        const { sums } = yield* ledger.sum(of.prefix, { asset, knownAt: recordedAt })
        return sums[0]?.balance ?? 0n
      }
      // No line before it changed the account; a day that was played before may have.
      const view = yield* version !== undefined
        ? ledger.balanceAt(of.account, { version })
        : recordedAt === undefined
          ? ledger.strongBalance(of.account)
          : ledger.balanceAt(of.account, { recordedAt })
      if (view.asset !== asset) return yield* InvalidCommand.at("asset", `the account holds ${view.asset}`)
      return view.balance
    })

/** An effect that waits until the next line is due. Lines are due at fixed times: a late one delays none after it. */
const makePace = Effect.fnUntraced(function* (perSecond: number) {
  const startedAt = yield* Clock.currentTimeMillis
  let turns = 0
  return () =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const waitMs = startedAt + (turns++ * 1_000) / perSecond - now
      return waitMs > 0 ? Effect.sleep(waitMs) : Effect.void
    })
})

/**
 * A day is known by its first command, so that it keeps its journal when it is moved, renamed or continued, and
 * that another day on the same data has a journal of its own. A day that was changed further down is noticed.
 */
const openJournal = Effect.fnUntraced(function* ({ file, journals }: DemoOptions) {
  const { join } = yield* Path.Path
  const first = yield* readDayFile(file).pipe(
    Stream.filter((line) => line._tag === "Command"),
    Stream.runHead
  )
  const name = Option.match(first, { onNone: () => "empty", onSome: ({ command }) => hashCommand(command) })
  yield* makeDirectories(journals)
  return yield* openPlayJournal(join(journals, `${name}.ndjson`))
})

/** Waits until the read model holds everything that was acknowledged; answers whether it does. */
const catchUp = Effect.fnUntraced(function* (positions: ReadonlyArray<Position>, patienceMs: number) {
  const queries = yield* Queries
  for (let start = 0; start < positions.length; start += positionsMax) {
    const token = printToken(positions.slice(start, start + positionsMax))
    const reached = yield* queries
      .awaitToken(token)
      .pipe(
        Effect.retry({ while: (error) => error._tag === "NotYetVisible" }),
        Effect.timeoutOption(patienceMs)
      )
    if (Option.isNone(reached)) return false
  }
  return true
})

/** How often the audit is done again while events are missing of which this play was not told: notices, and what other callers did. */
const looksMax = 20
const lookMs = 500

/** Why the read model is not the fold of the whole log. The audit takes neither for a fault, because at a node that goes on they are none. */
const notDerived = ({ behind, parked }: AuditReport, isCaughtUp: boolean): ReadonlyArray<string> => [
  ...(isCaughtUp ? [] : ["I8: the read model did not catch up in time"]),
  ...(behind === 0 ? [] : [`I8: accounts of which the read model lacks events: ${grouped(behind)}`]),
  ...parked.map(({ account, reason }) => `I8: ${account} is parked: ${reason}`)
]

/** The audit of the stores, and what the witness of all receipts has to say. */
const judge = Effect.fnUntraced(function* (witness: Effect.Success<typeof makeWitness>, isCaughtUp: boolean) {
  const audit = yield* Audit
  const report = yield* audit.verify().pipe(
    Effect.repeat({
      schedule: Schedule.spaced(lookMs),
      times: looksMax,
      until: ({ behind, parked }) => behind === 0 || parked.length > 0 || !isCaughtUp
    })
  )
  const missing = notDerived(report, isCaughtUp)
  const seen = yield* witness.conclude
  const kept = (invariant: "I4" | "I6" | "I7") => seen.every((fault) => fault.invariant !== invariant)
  return {
    invariants: {
      I1: report.invariants.I1,
      I2: report.invariants.I2,
      I3: report.invariants.I3,
      I4: report.invariants.I4 && kept("I4"),
      I5: report.invariants.I5,
      I6: kept("I6"),
      I7: kept("I7"),
      I8: report.invariants.I8 && missing.length === 0
    },
    faults: [
      ...report.findings.map((one) => `${one.invariant} in the ${one.where}: ${one.reason}`),
      ...missing,
      ...seen.map((one) => `${one.invariant}: ${one.reason}`)
    ],
    accounts: report.accounts,
    events: report.events
  } satisfies Verdicts
})
