/** The chapters that a demo prints: the day, balances, time travel, and the verdict on every invariant. */
import { Effect, Option } from "effect"
import { printInstant } from "../domain/Ids.ts"
import { meanings } from "../domain/Invariants.ts"
import { formatMoney } from "../domain/Money.ts"
import type { AccountView } from "../domain/Views.ts"
import { Ledger } from "../Ledger.ts"
import type { LineFault } from "./DayFields.ts"
import type { DemoResult, Verdicts } from "./DemoRun.ts"
import { grouped, type Output } from "./Output.ts"

const accountsShown = 4
const linesShown = 8
const linesListed = 50

/** Kinds of commands whose number is told: what a day has beside movements of money. */
const told: ReadonlyArray<readonly [kind: string, words: string]> = [
  ["PlaceHold", "holds: money kept back for a payment to come"],
  ["CaptureHold", "payments from holds, whole or in part"],
  ["ReleaseHold", "holds given free"],
  ["Reverse", "refunds, each named by what it gives back"],
  ["Exchange", "exchanges, held against their rate"]
]

export const printPlay = Effect.fnUntraced(function* (
  output: Output,
  { played, stats, caughtUpMs }: DemoResult
) {
  yield* output.heading("The day")
  yield* output.table(
    [
      ["commands", grouped(played.commands), `in ${played.seconds.toFixed(2)} s`],
      [
        "accepted",
        grouped(played.accepted),
        `in ${grouped(stats.batches)} batches, up to ${stats.rowsMax} events each`
      ],
      ...told.flatMap(([kind, words]) => {
        const count = played.kinds[kind] ?? 0
        return count === 0 ? [] : [["", grouped(count), `  ${words}`]]
      }),
      ["replayed", grouped(played.replayed), "the same command id again: its first outcome, nothing twice"],
      ["refused", grouped(played.refusedCount), "leave nothing in the log:"],
      ...Object.entries(played.refused).map(([reason, count]) => ["", grouped(count), `  ${reason}`]),
      ...(played.skipped > 0
        ? [["skipped", grouped(played.skipped), "lines with an amount of zero: nothing to do"]]
        : []),
      ...(played.assertions > 0
        ? [
            [
              "assertions",
              grouped(played.assertions),
              played.failedAssertionCount === 0
                ? "of what the books come to, each of them right"
                : `of what the books come to, ${grouped(played.failedAssertionCount)} of them wrong:`
            ]
          ]
        : []),
      ...(played.faultCount > 0
        ? [
            [
              "at fault",
              grouped(played.faultCount),
              "lines of the file that are no commands; nothing of them was done:"
            ]
          ]
        : [])
    ],
    "lr"
  )
  yield* printLines(
    output,
    "Lines that were refused:",
    played.refusedCount,
    played.refusals.map(({ line, id, reason, message }) => `line ${line}, ${id}: ${reason}: ${message}`)
  )
  yield* printLines(
    output,
    "Assertions that do not hold:",
    played.failedAssertionCount,
    played.failedAssertions.map(({ line, message }) => `line ${line}: ${message}`)
  )
  yield* printLines(output, "Lines at fault:", played.faultCount, played.faults.map(describeFault))
  yield* output.line(
    caughtUpMs === undefined
      ? "  THE READ MODEL DID NOT CATCH UP: what follows is of what it held when it was waited for no more."
      : `  The read model held all of it ${Math.round(caughtUpMs)} ms after the last answer.`
  )
})

const describeFault = ({ line, column, reason, text, detail }: LineFault): string => {
  const place = column === undefined ? `line ${line}` : `line ${line}, ${column}`
  return `${place}: ${reason}${text === "" ? "" : `: ${text}`}${detail === undefined ? "" : ` (${detail})`}`
}

/** The first of `count` lines of the file, of which `lines` are known. */
const printLines = Effect.fnUntraced(function* (
  output: Output,
  title: string,
  count: number,
  lines: ReadonlyArray<string>
) {
  if (count === 0) return
  yield* output.line(`  ${title}`)
  for (const line of lines.slice(0, linesListed)) yield* output.line(`    ${line}`)
  const more = count - Math.min(linesListed, lines.length)
  if (more > 0) yield* output.line(`    … and ${grouped(more)} more; --json lists more of them`)
})

/** A few accounts of every asset, those that are frozen or closed, and the books as a whole. */
export const printBalances = Effect.fnUntraced(function* (output: Output) {
  const ledger = yield* Ledger
  const all = yield* allAccounts
  yield* output.heading("Balances, from the read model")
  const shown: Array<AccountView> = []
  for (const asset of new Set(all.map((one) => one.asset))) {
    const busiest = all.filter((one) => one.asset === asset).toSorted((a, b) => b.version - a.version)
    shown.push(...busiest.slice(0, accountsShown))
  }
  shown.push(...all.filter((one) => one.status !== "open" && !shown.includes(one)))
  yield* output.table(
    shown.map((one) => [
      one.account,
      formatMoney(one.balance, one.asset),
      one.status,
      `${grouped(one.version)} events`,
      one.owner
    ]),
    "lrlr"
  )
  yield* output.heading("Trial balance: what the accounts hold, against what came in from outside")
  yield* output.table(
    (yield* ledger.trialBalance).map(({ asset, accounts, contras, total }) => [
      formatMoney(accounts, asset),
      formatMoney(contras, asset),
      `= ${formatMoney(total, asset)}`
    ]),
    "rrr"
  )
})

/** The first hold of the day: what became of it, from the log, and what its account had available meanwhile. */
export const printHold = Effect.fnUntraced(function* (output: Output, { played: { hold } }: DemoResult) {
  if (hold === undefined) return
  const ledger = yield* Ledger
  const { asset } = yield* ledger.balanceAt(hold.account, { version: 1 })
  const [placed] = Option.match(yield* ledger.find(hold.id), { onNone: () => [], onSome: ({ legs }) => legs })
  if (placed === undefined) return
  const entries = yield* ledger.history(hold.account, { after: placed.version - 1 })
  const steps = entries.filter(({ event }) => "hold" in event && event.hold === hold.id)
  yield* output.heading(`A hold: ${hold.id} on ${hold.account}`)
  yield* output.table(
    yield* Effect.forEach(steps, ({ event, version }) =>
      Effect.map(ledger.balanceAt(hold.account, { version }), ({ held = 0n, available }) => [
        event._tag,
        "amount" in event ? formatMoney(event.amount, asset) : "",
        `held ${formatMoney(held, asset)}`,
        `available ${formatMoney(available, asset)}`
      ])
    ),
    "lrrr"
  )
})

/** The busiest account: its balance half-way, by version and by time, and the end of its statement; answers its id. */
export const printTimeTravel = Effect.fnUntraced(function* (output: Output) {
  const ledger = yield* Ledger
  const busiest = (yield* allAccounts).toSorted((a, b) => b.version - a.version)[0]
  if (busiest === undefined) return Option.none<string>()
  const { account, asset, version } = busiest
  yield* output.heading(`Time travel: ${account}`)
  const half = yield* ledger.balanceAt(account, { version: Math.ceil(version / 2) })
  const then = yield* ledger.balanceAt(account, { recordedAt: half.recordedAt })
  yield* output.table(
    [
      [
        `as of version ${half.version}`,
        formatMoney(half.balance, asset),
        `recorded ${printInstant(half.recordedAt)}`
      ],
      [`as of ${printInstant(half.recordedAt)}`, formatMoney(then.balance, asset), `version ${then.version}`],
      ["now", formatMoney(busiest.balance, asset), `version ${version}`]
    ],
    "lrl"
  )
  yield* output.heading(`Statement: the last lines of ${account}`)
  const cursor = String(Math.max(0, version - linesShown))
  const { rows } = yield* ledger.statement(account, { cursor, limit: linesShown })
  yield* output.table(
    rows.map((line) => [
      String(line.version),
      printInstant(line.effectiveAt).slice(0, 16).replace("T", " "),
      line.type,
      line.counterparty ?? "",
      formatMoney(line.amount, asset),
      formatMoney(line.balance, asset)
    ]),
    "rlllrr"
  )
  return Option.some<string>(account)
})

export const printVerdicts = Effect.fnUntraced(function* (output: Output, verdicts: Verdicts) {
  yield* output.heading(
    `Verdicts over ${grouped(verdicts.events)} events of ${grouped(verdicts.accounts)} accounts`
  )
  for (const [name, meaning] of Object.entries(meanings)) {
    // Object.entries forgets that the keys of `meanings` are those of the invariants.
    const holds = verdicts.invariants[name as keyof typeof meanings]
    yield* output.line(`  ${holds ? "✓" : "✗"} ${name} ${meaning}`)
  }
  for (const fault of verdicts.faults) yield* output.line(`    ${fault}`)
})

const allAccounts = Effect.gen(function* () {
  const ledger = yield* Ledger
  const all: Array<AccountView> = []
  let cursor: string | undefined
  do {
    const { rows, next } = yield* ledger.accounts({ cursor, limit: 1_000 })
    all.push(...rows)
    cursor = next
  } while (cursor !== undefined && all.length < 10_000)
  return all
})
