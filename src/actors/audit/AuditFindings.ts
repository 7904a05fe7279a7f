/** Faults enter as they are found; a bounded list of them, the root ones first, leaves. */

/** The invariants of the design that an audit can check on the stores alone. */
export const invariants = ["I1", "I2", "I3", "I4", "I5", "I8"] as const
export type Invariant = (typeof invariants)[number]

/** Which rows break a rule. */
export type Place = "events" | "commits" | "snapshots" | "read model"

/** One broken row: `account@version` where the row has such a key, the column where only one is wrong. */
export interface Finding {
  readonly invariant: Invariant
  readonly where: Place
  readonly account?: string
  readonly version?: number
  readonly column?: string
  readonly reason: string
}

/** Kept of one kind; more are counted only, so that one kind never hides another. */
const keptMax = 20

/** The chain names the changed row itself; what depends on it comes after. */
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

  /** All of them, kept or not. */
  get total(): number {
    return this.#total
  }

  list(): ReadonlyArray<Finding> {
    const rank = (kind: string) => (order.includes(kind) ? order.indexOf(kind) : order.length)
    return [...this.#kept].toSorted(([a], [b]) => rank(a) - rank(b)).flatMap(([, kept]) => kept)
  }

  /** Which invariants hold, as far as was looked. */
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

/** The first column in which a row differs from what it should be, in words; undefined when none does. */
export const difference = <A extends object>(
  expected: A,
  actual: A
): { readonly column: string; readonly reason: string } | undefined => {
  for (const [column, wanted] of Object.entries(expected)) {
    const found: unknown = Reflect.get(actual, column)
    if (found !== wanted) return { column, reason: `${column} is ${found}, the log says ${wanted}` }
  }
  return undefined
}
