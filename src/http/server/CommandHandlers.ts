/** What the routes of commands do: a request becomes a command, and its receipt or error the response. */
import { Clock, Effect, Result, Schema, Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { type GuardedLedger, makeGuardedLedger } from "../../access/GuardedLedger.ts"
import type { Caller } from "../../access/Tokens.ts"
import { isInVain } from "../../actors/commands/BatchUnderWay.ts"
import { type CommandError, InvalidCommand, Unavailable } from "../../domain/Errors.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { elapsedMsUnsafe, makeTurns, mapInTurns, type Turns } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { commandRoutes, locationOf, ReceiptBody } from "../api/CommandRoutes.ts"
import { CurrentCaller } from "../api/LedgerHttpApi.ts"
import { toProblem } from "../api/Problems.ts"
import { HttpConnections } from "./HttpConnections.ts"
import { HttpConfig } from "./HttpLimits.ts"
import { commandOf, parseJson } from "./ReadCommand.ts"
import { readBody } from "./RequestBody.ts"
import { jsonResponse, problemResponse } from "./Responses.ts"
import { type Handle, serveGroup } from "./RouteGroup.ts"

const encodeReceipt = Schema.encodeSync(Schema.toCodecJson(ReceiptBody))

/** A client that has no room for so long a header drops the whole answer; the body has the token all the same. */
const tokenHeader = ({ readToken }: Receipt, headerBytesMax: number) =>
  readToken.length > headerBytesMax * 0.75 ? {} : { "chronicle-read-token": readToken }

const receiptResponse = (
  command: unknown,
  receipt: Receipt,
  headerBytesMax: number
): HttpServerResponse.HttpServerResponse =>
  jsonResponse(encodeReceipt(receipt), receipt.replayed ? 200 : 201, {
    location: locationOf(command, receipt),
    ...tokenHeader(receipt, headerBytesMax),
    ...(receipt.replayed ? { "idempotency-replayed": "true" } : {})
  })

const failed = (error: Parameters<typeof problemResponse>[0]) => Effect.succeed(problemResponse(error))

/** One command; `tag` is its kind where the route is of one kind. */
const makeSendOne = Effect.gen(function* () {
  const { batchMax, bodyBytesMax, headerBytesMax } = yield* HttpConfig
  const connections = yield* HttpConnections
  const guarded = yield* makeGuardedLedger("http", batchMax)
  return Effect.fnUntraced(function* (tag: string | undefined) {
    const request = yield* HttpServerRequest.HttpServerRequest
    const caller = yield* CurrentCaller
    const { params } = yield* HttpRouter.RouteContext
    // Until it is answered: what is decoded of it is there as long.
    const room = yield* connections.openBody(request, caller, "command")
    const text = yield* readBody(room, request, "application/json", bodyBytesMax)
    const body = yield* Effect.fromResult(parseJson(text))
    const fields = tag === undefined ? params : { ...params, _tag: tag }
    const command = yield* Effect.fromResult(commandOf(body, fields, request.headers))
    const receipt = yield* guarded.dispatch(caller, command)
    return receiptResponse(command, receipt, headerBytesMax)
  }, Effect.catch(failed))
})

type CommandResult = Result.Result<Receipt, CommandError>

const resultLine = (result: CommandResult): unknown => {
  if (Result.isSuccess(result))
    return { status: result.success.replayed ? 200 : 201, receipt: encodeReceipt(result.success) }
  const { status, document } = toProblem(result.failure)
  return { status, problem: document }
}

const printResult = (result: CommandResult): string => `${JSON.stringify(resultLine(result))}\n`

/** A line of a batch as JSON, or what is wrong with it. A command may be as long here as by itself. */
const parseLine = (line: string, bytesMax: number): Result.Result<unknown, InvalidCommand> => {
  const bytes = Buffer.byteLength(line)
  return bytes > bytesMax
    ? Result.fail(InvalidCommand.at("body", `has ${bytes} bytes: a command may have ${bytesMax}`))
    : Result.flatMap(parseJson(line), (value) => commandOf(value, {}, {}))
}

/** Of a text, one at a time: many short ones held together would take far more memory than their text. */
function* linesOf(text: string): Generator<string> {
  let from = 0
  while (from < text.length) {
    const end = text.indexOf("\n", from)
    const line = text.slice(from, end < 0 ? text.length : end)
    yield line
    from += line.length + 1
  }
}

/** The next lines that are not blank, so many at most; none at the end. */
const takeSome = Effect.fnUntraced(function* (lines: Generator<string>, max: number, turns: Turns) {
  const taken: Array<string> = []
  while (taken.length < max) {
    const turn = turns()
    if (turn !== undefined) yield* turn
    const { done, value } = lines.next()
    if (done === true) break
    if (value.trim() !== "") taken.push(value)
  }
  return taken
})

/** What is known of a batch behind some of its lines. */
interface BatchProgress {
  /** What is said of each further line, none of which is sent then. */
  readonly stopped: string | undefined
  /** How long its last commands were waited for of which none had an outcome; not how long its client took to read the results. */
  readonly waitedMs: number
}

/** What became of some lines, in order and printed. */
interface LineResults extends BatchProgress {
  readonly printed: ReadonlyArray<string>
}

const isIndeterminate = (result: CommandResult): boolean =>
  Result.isFailure(result) && result.failure._tag === "Indeterminate"

const isUnavailable = (result: CommandResult): boolean =>
  Result.isFailure(result) && result.failure._tag === "Unavailable"

const behindUnknown = printResult(
  Result.fail(
    new Unavailable({ what: "this batch", reason: "a command before it in the batch has no known outcome" })
  )
)

interface BatchLimits {
  readonly batchMax: number
  readonly bodyBytesMax: number
  readonly commandDeadlineMs: number
  readonly clock: Clock.Clock
}

/** How one batch is sent. */
interface BatchOptions extends BatchLimits {
  /** Those of the whole batch: reading its lines and printing the results takes as long as its client made them. */
  readonly turns: Turns
}

/** The results of some lines. The commands of faulty lines are not sent, but count against the caller's rate as those of others do. */
const sendLines = Effect.fnUntraced(
  function* (
    guarded: GuardedLedger,
    caller: Caller,
    lines: ReadonlyArray<string>,
    { bodyBytesMax, commandDeadlineMs, clock, turns }: BatchOptions,
    before: BatchProgress,
    callsAdmitted: number
  ) {
    const parsed = yield* mapInTurns(lines, (line) => parseLine(line, bodyBytesMax), turns)
    const commands = parsed.filter(Result.isSuccess).map(({ success }) => success)
    const faulty = lines.length - commands.length
    const sentAtMs = elapsedMsUnsafe(clock)
    const results = yield* guarded.dispatchMany(caller, commands, faulty - callsAdmitted)
    const tookMs = results.some(isUnavailable) ? elapsedMsUnsafe(clock) - sentAtMs : 0
    const waitedMs = (isInVain(results) ? before.waitedMs : 0) + tookMs
    let next = 0
    const all = parsed.map((line): CommandResult => {
      if (Result.isFailure(line)) return Result.fail(line.failure)
      const result = results[next++]
      if (result === undefined) throw new Error("a command of a batch has no result")
      return result
    })
    // It may be done yet, and what stands behind it must not come before. Or it had no outcome in all its time, or it and those before it
    // together had none for as long: further lines would wait as long again.
    const isStopped = all.some(isIndeterminate) || (waitedMs >= commandDeadlineMs && all.some(isUnavailable))
    return {
      printed: yield* mapInTurns(all, printResult, turns),
      stopped: isStopped ? behindUnknown : undefined,
      waitedMs: isInVain(results) ? waitedMs : 0
    }
  },
  // What refuses all of them, as the caller's rate does, refuses each, and those behind them: a batch takes effect in order.
  (sent, _guarded, _caller, lines, _limits, { waitedMs }): Effect.Effect<LineResults> =>
    Effect.catch(sent, (error: CommandError) => {
      const stopped = printResult(Result.fail(error))
      return Effect.succeed({ printed: lines.map(() => stopped), stopped, waitedMs })
    })
)

/** The results of all lines, so many at a time as are dispatched together. */
const sendInOrder = (guarded: GuardedLedger, caller: Caller, text: string, limits: BatchLimits) =>
  Stream.suspend(() => {
    const turns = makeTurns(limits.clock)
    const lines = linesOf(text)
    // The request itself was one call.
    let callsAdmitted = 1
    const first: BatchProgress = { stopped: undefined, waitedMs: 0 }
    return Stream.unfold(
      first,
      Effect.fnUntraced(function* (before) {
        const some = yield* takeSome(lines, limits.batchMax, turns)
        if (some.length === 0) return undefined
        const { stopped } = before
        if (stopped !== undefined) return [some.map(() => stopped), before] as const
        const options = { ...limits, turns }
        const { printed, ...after } = yield* sendLines(guarded, caller, some, options, before, callsAdmitted)
        callsAdmitted = 0
        return [printed, after] as const
      })
    )
  })

/** Headers that stand for a field of the one command of a request. */
const ofOneCommand = [
  ["Idempotency-Key", "a commandId"],
  ["If-Match", "an expectedVersion"]
] as const

/**
 * The lines are read whole before the first is sent, because most clients read nothing while they send. Then so many at a time are
 * dispatched together, and their results are sent before the next ones are.
 */
const makeSendBatch = Effect.gen(function* () {
  const { batchMax, batchBytesMax, bodyBytesMax } = yield* HttpConfig
  const { commandDeadlineMs } = yield* LedgerConfig
  const connections = yield* HttpConnections
  const guarded = yield* makeGuardedLedger("http", batchMax)
  const clock = yield* Clock.Clock
  return Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const caller = yield* CurrentCaller
    for (const [header, field] of ofOneCommand)
      if (request.headers[header.toLowerCase()] !== undefined)
        return yield* InvalidCommand.at(header, `is not of a batch: each line has ${field} of its own`)
    const room = yield* connections.openBody(request, caller, "batch")
    const text = yield* readBody(room, request, "application/x-ndjson", batchBytesMax)
    let done = 0
    const results = sendInOrder(guarded, caller, text, {
      batchMax,
      bodyBytesMax,
      commandDeadlineMs,
      clock
    }).pipe(
      Stream.map((some) => {
        done += some.length
        return some.join("")
      }),
      Stream.concat(Stream.sync(() => `${JSON.stringify({ done })}\n`)),
      Stream.encodeText
    )
    return HttpServerResponse.stream(results, {
      contentType: "application/x-ndjson",
      headers: { "cache-control": "no-store" }
    })
  }).pipe(Effect.catch(failed))
})

export const layer = serveGroup(
  "commands",
  Effect.gen(function* () {
    const sendOne = yield* makeSendOne
    const sendBatch = yield* makeSendBatch
    return new Map<string, Handle>([
      ["sendCommand", () => sendOne(undefined)],
      ["sendBatch", () => sendBatch],
      ...commandRoutes.map(({ name, tag }): [string, Handle] => [name, () => sendOne(tag)])
    ])
  })
)
