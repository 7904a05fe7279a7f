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

/** No command has more values in it: a group of a hundred journals, each with ten rates and the most metadata, has some 10,000. */
const commandValuesMax = 12_000

/** Counts without recursion, for what comes from outside may be nested as deep as it is long. */
const hasMore = (input: unknown, max: number): boolean => {
  const open: Array<unknown> = [input]
  let count = 0
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value !== "object" || value === null) continue
    if (ArrayBuffer.isView(value)) {
      // To list bytes makes a text of the place of each. There are no more values in a message than bytes.
      count += value.byteLength
      if (count > max) return true
      continue
    }
    // Of many fields the names alone: their values take three times as long to list.
    count += Array.isArray(value) ? value.length : Object.keys(value).length
    if (count > max) return true
    open.push(...Object.values(value))
  }
  return false
}

/** Whether all faults of a value are looked for, or the first alone, which costs a hundredth where there are hundreds. */
export type Sought = "all" | "first"

/** How the next value of a message is looked at, whose values before it have so many faults. */
export const soughtBeside = (faultsKnown: number): Sought => (faultsKnown < faultsMax ? "all" : "first")

/** An unknown field is mostly a mistyped one: dropping it would drop what the sender meant. */
export const strictFor = (input: unknown, sought: Sought = "all") =>
  ({
    errors: sought === "first" || hasMore(input, valuesMax) ? "first" : "all",
    onExcessProperty: "error"
  }) as const

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

const tooManyValues = refuseWith([
  { path: [], message: `has more than ${commandValuesMax} values in it, which no command has` }
])

/** Of a command from outside, before anything of it is copied or decoded: of four megabytes of fields either takes a node a second. */
export const refuseHuge = (input: unknown): InvalidCommand | undefined =>
  hasMore(input, commandValuesMax) ? tooManyValues : undefined

/** Whether it is the refusal of a command that is not looked at any further. */
export const isOfHuge = (error: unknown): boolean => error === tooManyValues

/** More fields than an object with known ones may have. */
const fieldsMax = 100

/** Of an object with more fields than any options have the first ones, of which some are unknown already. */
export const withFewFields = (input: unknown): unknown => {
  if (typeof input !== "object" || input === null || Array.isArray(input) || ArrayBuffer.isView(input))
    return input
  const names = Object.keys(input)
  if (names.length <= fieldsMax) return input
  return Object.fromEntries(names.slice(0, fieldsMax).map((name) => [name, Reflect.get(input, name)]))
}
