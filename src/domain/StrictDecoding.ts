/**
 * How a value from outside is decoded, and what is told of its faults: strictly, each fault with its path, and no more of them than a
 * reader takes in. What a sender makes of a small text, a hundred thousand faulty legs, would else be as many sentences, and seconds in
 * which a node does nothing else.
 */
import { type Schema, SchemaIssue } from "effect"
import { InvalidCommand } from "./Errors.ts"

/** Of a value with more values in it only the first fault is looked for. A group of five journals of the most legs has fewer. */
const valuesMax = 3_000
/** Faults that are told one by one. */
const faultsMax = 100

/** Counts without recursion, for what comes from outside may be nested as deep as it is long. */
const isLarge = (input: unknown): boolean => {
  const open: Array<unknown> = [input]
  let count = 0
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value !== "object" || value === null) continue
    const inner: ReadonlyArray<unknown> = Array.isArray(value) ? value : Object.values(value)
    count += inner.length
    if (count > valuesMax) return true
    open.push(...inner)
  }
  return false
}

/** Whether all faults of a value are looked for, or the first alone, which costs a hundredth where there are hundreds. */
export type Sought = "all" | "first"

/** How the next value of a message is looked at, whose values before it have so many faults. */
export const soughtBeside = (faultsKnown: number): Sought => (faultsKnown < faultsMax ? "all" : "first")

/** An unknown field is mostly a mistyped one: dropping it would drop what the sender meant. */
export const strictFor = (input: unknown, sought: Sought = "all") =>
  ({ errors: sought === "first" || isLarge(input) ? "first" : "all", onExcessProperty: "error" }) as const

/** What is missing or superfluous, in words of our own. */
const describeLeaf = (issue: SchemaIssue.Leaf): string => {
  switch (issue._tag) {
    case "MissingKey":
      return "is missing"
    case "UnexpectedKey":
      return "is not known here: no such field or option"
    default:
      return SchemaIssue.defaultLeafHook(issue)
  }
}

/** The library's words for what a value is not, as a sentence about the field; an option that may be left out is no type. */
const asSentence = (message: string): string =>
  message
    .replace(/^(Expected .*) \| undefined$/, "$1")
    .replace(/^Expected a value with /, "must have ")
    .replace(/^Expected (?=")/, "must be one of ")
    .replace(/^Expected /, "must be of type ")
const toFaults = SchemaIssue.makeFormatterStandardSchemaV1({ leafHook: describeLeaf })

/** The first of them, and how many there are besides. */
export const refuseWith = (faults: InvalidCommand["faults"]): InvalidCommand =>
  faults.length <= faultsMax
    ? new InvalidCommand({ faults })
    : new InvalidCommand({
        faults: [
          ...faults.slice(0, faultsMax),
          { path: [], message: `has ${faults.length - faultsMax} faults more` }
        ]
      })

export const refuse = (error: Schema.SchemaError): InvalidCommand =>
  refuseWith(
    toFaults(error.issue).issues.map(({ path, message }) => ({
      path: (path ?? []).map((key) => String(typeof key === "object" ? key.key : key)),
      message: asSentence(message)
    }))
  )
