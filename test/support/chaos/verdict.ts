/** The verdict on a chaos run: compares what customers were told and what nodes counted with what the stores hold. */
import { readFileSync } from "node:fs"
import { Effect, Schedule } from "effect"
import { Audit } from "../../../src/actors/audit/Audit.ts"
import type { DevStackService } from "../../../src/infra/dev/DevStack.ts"
import { EventStore } from "../../../src/infra/eventstore/EventStore.ts"
import * as LedgerNode from "../../../src/LedgerNode.ts"
import { untrueAnswers } from "../answers.ts"
import { faultsOf, logOf } from "../invariants.ts"
import { eventually } from "../waiting.ts"
import type { Journal } from "./journal.ts"
import type { Life, ServedNode } from "./servedNode.ts"

const catchUpSeconds = 90
const listedMax = 10
const warnedWithinMs = 40_000

export interface Verdict {
  /** I1-I5 and I8, by the audit of the ledger. I1-I7 by the checks of the tests are in `faults`. */
  readonly invariants: Readonly<Record<string, boolean>>
  readonly events: number
  /** Answers from memory that were held against the log. */
  readonly judged: { readonly strongBalances: number; readonly refusals: number }
  readonly conflicts: {
    /** By the last counters of all lives of all nodes. */
    readonly counted: number
    /** By the warnings of the nodes. */
    readonly warned: number
    /** Versions that PostgreSQL refused because they were taken, and batches that were sent again. */
    readonly refusedByStore: number
    readonly sentAgain: number
  }
  readonly faults: ReadonlyArray<string>
}

/** Counts the duplicate versions in PostgreSQL's log. */
const refusalsIn = (logFile: string): number =>
  readFileSync(logFile, "utf8").split('duplicate key value violates unique constraint "events_pkey"').length -
  1

/** Waits until the read model has caught up, and audits the stores. */
const audited = Effect.gen(function* () {
  const audit = yield* Audit
  yield* eventually(
    "the read model has caught up",
    Effect.map(Effect.orDie(audit.verify()), ({ behind }) => behind === 0),
    catchUpSeconds
  )
  return yield* Effect.orDie(audit.verify())
}).pipe(Effect.provide(Audit.layer))

/** What the verdict on conflicts needs to know of a node. */
export type CountedNode = Pick<ServedNode, "name" | "lives" | "count">

/** The warnings of one life of a node against its counter of conflicts. */
const isWarnedOf = ({ conflicts, warned, end }: Life): boolean => {
  if (end === undefined) return warned === conflicts
  // The counter was read before the signal: the life may have warned of conflicts that came afterwards, and one that
  // was killed could not warn of its last ones.
  return end === "SIGKILL" || warned >= conflicts
}

/**
 * Reads all counters until each is matched by warnings, for some seconds at most: a node warns once a second, and its
 * warnings come another way than its counters.
 */
export const countConflicts = (nodes: ReadonlyArray<CountedNode>) =>
  Effect.gen(function* () {
    for (const node of nodes) yield* node.count
    return nodes.every(({ lives }) => lives.every(isWarnedOf))
  }).pipe(
    Effect.repeat({ schedule: Schedule.spaced(200), until: (areWarnedOf) => areWarnedOf }),
    Effect.timeoutOption(warnedWithinMs),
    Effect.asVoid
  )

/** Each conflict must have been counted and warned of. `refusedByStore`: versions that were taken already. */
export const conflictsOf = (nodes: ReadonlyArray<CountedNode>, refusedByStore: number) => {
  const lives = nodes.flatMap((node) => node.lives)
  const faults = nodes.flatMap(({ name, lives }) =>
    lives
      .filter((life) => !isWarnedOf(life))
      .map(({ conflicts, warned }) => `${name} counted ${conflicts} conflicts and warned of ${warned}`)
  )
  const sum = (key: "conflicts" | "warned" | "unknown") => lives.reduce((total, life) => total + life[key], 0)
  const seen = lives.reduce((total, life) => total + Math.max(life.conflicts, life.warned), 0)
  // A life that is killed between a refusal and its count may lose one for each of its two lanes.
  const untold = 2 * lives.filter(({ end }) => end === "SIGKILL").length
  if (refusedByStore > seen + sum("unknown") + untold)
    faults.push(`the store refused ${refusedByStore} versions, but only ${seen} conflicts were counted`)
  return {
    conflicts: {
      counted: sum("conflicts"),
      warned: sum("warned"),
      refusedByStore,
      sentAgain: sum("unknown")
    },
    faults
  }
}

/** Called while the nodes still run and no customer sends any more. */
export const judge = Effect.fnUntraced(function* (
  stack: DevStackService,
  nodes: ReadonlyArray<ServedNode>,
  journal: Journal
) {
  const { report, log } = yield* Effect.gen(function* () {
    return { report: yield* audited, log: yield* logOf(yield* EventStore) }
  }).pipe(Effect.provide(LedgerNode.stores(stack)), Effect.scoped, Effect.orDie)
  yield* countConflicts(nodes)
  const { conflicts, faults } = conflictsOf(nodes, refusalsIn(`${stack.dataDir}/logs/postgres.log`))
  return {
    invariants: { ...report.invariants, I8: report.invariants.I8 && report.parked.length === 0 },
    events: report.events,
    judged: { strongBalances: journal.balances.length, refusals: journal.refusals.length },
    conflicts,
    faults: [
      ...report.findings.slice(0, listedMax).map((finding) => `audit: ${JSON.stringify(finding)}`),
      ...report.parked.slice(0, listedMax).map(({ account, reason }) => `${account} is parked: ${reason}`),
      ...faultsOf(log, journal.attempts).slice(0, listedMax),
      ...untrueAnswers(log, journal.attempts, journal.balances, journal.refusals).slice(0, listedMax),
      ...journal.stale.slice(0, listedMax),
      ...(journal.undecided === 0 ? [] : [`${journal.undecided} commands never got a definite answer`]),
      ...nodes.flatMap(({ name, warnings }) => warnings.map((warning) => `${name}: ${warning}`)),
      ...faults
    ]
  } satisfies Verdict
})
