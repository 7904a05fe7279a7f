/** Log entries of the read side's thread, as texts that can be copied: they go through the loggers of the node. */
import { Cause, Formatter, Logger, References } from "effect"
import type { FromReadSide } from "./ThreadMessages.ts"

/** Of any value: a failure with its trace; a log entry must never be what a fiber dies of. */
const textOf = (part: unknown): string => {
  if (typeof part === "string") return part
  if (Cause.isCause(part)) return Cause.pretty(part)
  return part instanceof Error ? (part.stack ?? part.message) : Formatter.format(part)
}

const textsOf = (annotations: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(annotations).map(([key, value]) => [key, textOf(value)]))

export const loggerTo = (post: (entry: Extract<FromReadSide, { readonly _tag: "Log" }>) => void) =>
  Logger.make<unknown, void>(({ cause, fiber, logLevel, message }) => {
    if (logLevel === "All" || logLevel === "None") return
    const parts = Array.isArray(message) ? message : [message]
    post({
      _tag: "Log",
      level: logLevel,
      message: [...parts, ...(cause.reasons.length > 0 ? [cause] : [])].map(textOf),
      annotations: textsOf(fiber.getRef(References.CurrentLogAnnotations))
    })
  })
