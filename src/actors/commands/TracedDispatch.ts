/** Traces dispatches: where there is a tracer, each command runs in a span and carries its name into the log. */
import { Effect, type Result, type Tracer } from "effect"
import type { Command } from "../../domain/Command.ts"
import type { CommandError } from "../../domain/Errors.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { isTraced } from "../../infra/telemetry/Logs.ts"
import { parseTraceparent, printTraceparent } from "../../infra/telemetry/Tracing.ts"
import type { Dispatcher } from "./Dispatcher.ts"

type Dispatches = Pick<Dispatcher["Service"], "dispatch" | "dispatchMany">

/** What the caller named stays: the trace is its, not ours. */
const inTraceOf = (command: Command, span: Tracer.AnySpan): Command =>
  !span.sampled || command.context?.traceparent !== undefined
    ? command
    : { ...command, context: { ...command.context, traceparent: printTraceparent(span) } }

/** The same dispatches, each a span of the caller's trace: that of its `traceparent`, else the current one. */
export const traced = ({ dispatch, dispatchMany }: Dispatches): Dispatches => ({
  dispatch: (command) =>
    Effect.withFiber((fiber): Effect.Effect<Receipt, CommandError> => {
      if (!isTraced(fiber)) return dispatch(command)
      const named = parseTraceparent(command.context?.traceparent)
      const options = {
        kind: "server" as const,
        attributes: { "chronicle.command_id": command.commandId, "chronicle.command": command._tag },
        ...(named === undefined ? {} : { parent: named })
      }
      return Effect.useSpan("Ledger.dispatch", options, (span) =>
        Effect.withParentSpan(dispatch(inTraceOf(command, span)), span)
      )
    }),
  dispatchMany: (commands) =>
    Effect.withFiber((fiber): Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>> => {
      if (!isTraced(fiber)) return dispatchMany(commands)
      const options = { kind: "server" as const, attributes: { "chronicle.commands": commands.length } }
      return Effect.useSpan("Ledger.dispatchMany", options, (span) =>
        Effect.withParentSpan(dispatchMany(commands.map((command) => inTraceOf(command, span))), span)
      )
    })
})
