/**
 * What simulated worlds have to reach: faults that were injected, paths of recovery that were taken, errors that were answered.
 * A simulator that reaches them no more finds nothing in them, and does not say so by itself.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import type { Counts } from "./Outside.ts"
import { noises } from "./Plan.ts"

const named = (kind: string, names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.map((name) => `${kind} ${name}`)

const disruptions = [
  ...["crash", "end", "freeze", "stall", "clockStep", "storeClockStep", "moveShard", "splitBrain"],
  ...["readModelHesitates", "forge", "wipeBus", "changeSnapshot"]
]
/** Those that the bus draws itself: only whether a world may have them is counted. */
const ofBus: ReadonlyArray<string> = ["busLoses", "busRepeats", "busShuffles"]
const kinds = [
  ...["OpenAccount", "Deposit", "Withdraw", "Transfer", "PostJournal", "UpdateAccount", "PlaceHold"],
  ...["CaptureHold", "AdjustHold", "ReleaseHold", "Reverse", "FreezeAccount", "UnfreezeAccount"],
  ...["CloseAccount", "Group"]
]

/** Reached by two hundred worlds. */
export const common: ReadonlyArray<string> = [
  ...named(
    "fault",
    [...noises, ...disruptions].filter((name) => !ofBus.includes(name))
  ),
  ...named("world with", ofBus),
  ...named("accepted", kinds),
  ...named("commit", ["Committed", "Conflict", "Fenced"]),
  ...named("path", ["fence", "account leased", "shard moved", "shard seized", "shard lost while frozen"]),
  ...named("path", ["singleton moved", "reload of a diverged row", "account parked", "chained batch"]),
  ...named("path", ["node drained", "snapshot changed", "notice of an expired hold", "split brain"]),
  ...named("answer", ["Replayed", "CommandIdReused", "Indeterminate", "Unavailable", "InsufficientFunds"]),
  ...named("answer", ["AccountNotFound", "AccountAlreadyExists", "AccountNotActive", "AssetMismatch"]),
  ...named("answer", [
    "SameAccount",
    "InvalidCommand",
    "VersionConflict",
    "GroupRejected",
    "CommandNotFound"
  ]),
  ...named("answer", ["HoldNotFound", "HoldExpired", "HoldClosed"]),
  ...named("question", ["asOf answered", "trialAt answered", "strong answered", "weak answered"]),
  ...named("question", ["reader answered", "sum answered", "find answered", "statement answered"])
]

/** Reached by thousands of worlds. */
export const rare: ReadonlyArray<string> = [
  ...common,
  ...named("commit", ["NotWritten"]),
  ...named("answer", ["Overloaded", "CaptureExceedsHold", "ReversalExceeds", "RateMismatch", "OpenHolds"]),
  ...named("answer", ["HoldLimit", "LimitExceeded"]),
  ...named("question", [
    "asOf NotYetVisible",
    "sum NotYetVisible",
    "trialAt NotYetVisible",
    "weak NotYetVisible"
  ])
]

const rareFrom = 5_000
const commonFrom = 200

/** Those that so many worlds should have reached and did not. */
export const neverReached = ({ all }: Counts, seeds: number): ReadonlyArray<string> =>
  (seeds >= rareFrom ? rare : seeds >= commonFrom ? common : []).filter((what) => !all.has(what))

interface Kept {
  readonly seeds: number
  readonly steps: number
  readonly seconds: number
  readonly counts: Readonly<Record<string, number>>
}

/** Adds a run to those that a file keeps, so that many seeds are lived in parts; `counts` then has all of them. */
export const addTo = (path: string, run: Omit<Kept, "counts">, counts: Counts): Omit<Kept, "counts"> => {
  const before: Kept = existsSync(path)
    ? JSON.parse(readFileSync(path, "utf8")) // as this function wrote it
    : { seeds: 0, steps: 0, seconds: 0, counts: {} }
  for (const [what, times] of Object.entries(before.counts)) counts.add(what, times)
  const sum = {
    seeds: before.seeds + run.seeds,
    steps: before.steps + run.steps,
    seconds: before.seconds + run.seconds
  }
  writeFileSync(path, JSON.stringify({ ...sum, counts: Object.fromEntries(counts.all) }, undefined, 2))
  return sum
}
