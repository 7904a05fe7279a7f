/** The findings of an audit: a bounded list in which the root causes come first. */
import { Equal } from "effect"
import type { AuditedInvariant } from "../../domain/Invariants.ts"

export type Invariant = AuditedInvariant

/** The relation whose row breaks a rule. */
type Place = "events" | "commits" | "snapshots" | "read model"

/** One broken row: its account and version where it has such a key, and the column where one column is wrong. */
export interface Finding {
  readonly invariant: Invariant
  readonly where: Place
  readonly account?: string
  readonly version?: number
  readonly column?: string
  readonly reason: string
}

/** So many findings of a kind are kept, so that no kind hides another. Further ones are only counted. */
const keptMax = 20

/** Kinds in the order in which they are told: the hash chain names the changed row itself, others only its consequences. */
const order = [
  "events I1",
  "events I5",
  "events I3",
  "commits I1",
  "commits I4",
  "events I4",
  "events I2",
  "snapshots I8",
  "read model I8"
]

export class Findings {
  #total = 0
  readonly #kept = new Map<string, Array<Finding>>()

  add(finding: Finding): void {
    const kind = `${finding.where} ${finding.invariant}`
    const kept = this.#kept.get(kind) ?? []
    const isKnown = kept.some(
      (one) =>
        one.account !== undefined &&
        one.account === finding.account &&
        one.version === finding.version &&
        one.column === finding.column
    )
    if (isKnown) return
    this.#total++
    if (kept.length < keptMax) kept.push(finding)
    this.#kept.set(kind, kept)
  }

  /** How many there are, those that were not kept included. */
  get total(): number {
    return this.#total
  }

  list(): ReadonlyArray<Finding> {
    const rank = (kind: string) => (order.includes(kind) ? order.indexOf(kind) : order.length)
    return [...this.#kept].toSorted(([a], [b]) => rank(a) - rank(b)).flatMap(([, kept]) => kept)
  }

  /** Which invariants hold, as far as the audit has looked. */
  held(): Readonly<Record<Invariant, boolean>> {
    const broken = new Set(this.list().map((finding) => finding.invariant))
    return {
      I1: !broken.has("I1"),
      I2: !broken.has("I2"),
      I3: !broken.has("I3"),
      I4: !broken.has("I4"),
      I5: !broken.has("I5"),
      I8: !broken.has("I8")
    }
  }
}

/** The first column in which a row differs from what the log says; undefined where none does. */
export const difference = <A extends object>(
  expected: A,
  actual: A
): { readonly column: string; readonly reason: string } | undefined => {
  for (const [column, wanted] of Object.entries(expected)) {
    const found: unknown = Reflect.get(actual, column)
    if (!Equal.equals(found, wanted))
      return { column, reason: `${column} is ${found}, the log says ${wanted}` }
  }
  return undefined
}
