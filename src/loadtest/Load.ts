/**
 * The load itself: sends commands to a node at a given pace until the time is over, and meters each answer. A command
 * that was not decided is sent again, as a careful client would do, until it has a definite answer or the time is over.
 */
import { Cause, Clock, Data, Effect, Exit, FiberSet, Schedule } from "effect"
import type { Command } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"
import { elapsedMsUnsafe } from "../infra/config/Elapsed.ts"
import type { Acknowledged, Sent } from "./Acknowledged.ts"
import type { Driver } from "./Driver.ts"
import { Meter, recordMs } from "./Meter.ts"
import type { Pace } from "./Settings.ts"

/** How often a command without a definite answer is sent again, and the pause before it. */
const resendsMax = 20
const resendPauseMs = 250
/** The longest time for which a client of the closed loop waits when it is told to come back later. */
const backOffMaxMs = 1_000
/** How often the open loop sends the commands that are due, and how many it generates at once. */
const tickMs = 1
const generatedMax = 64
/** How long after its end the open loop may still send what was due by then; the rest counts as not sent. */
const lateMaxMs = 5_000
/** How long a warm-up may take, in seconds, and its clients where the load that follows is an open loop. */
const warmUpSecondsMax = 300
const warmUpClients = 64

export interface Load {
  readonly driver: Driver
  readonly next: () => Command
  readonly pace: Pace
  readonly seconds: number
  /** Of a closed loop: it ends after so many commands, where that is before its time is over. */
  readonly commands?: number
  readonly meter: Meter
  readonly acknowledged: Acknowledged
  /** Whether a definite refusal may be true (see `mayBeRefused`); where it is not given, any may. */
  readonly isTrueRefusal?: (command: Command, error: CommandError) => boolean
  /** Called with each receipt, and its command: also of a replay, which may be the first answer that came. */
  readonly onReceipt?: (receipt: Receipt, command: Command) => void
  /** Called with each receipt that is not a replay, and its command. */
  readonly onAccepted: (receipt: Receipt, command: Command) => void
}

/** The clock of a running load, in milliseconds. */
interface LoadClock {
  readonly nowMs: () => number
  readonly start: number
  readonly isOver: () => boolean
}

/** Runs the load, and waits for the answer of every command that was sent. The answer is how many seconds it took. */
export const runLoad = Effect.fn("LoadTest.load")(function* (load: Load) {
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  const start = nowMs()
  const end = start + load.seconds * 1_000
  const time: LoadClock = { nowMs, start, isOver: () => nowMs() >= end }
  const send = makeSend(load, time)
  if (load.pace._tag === "Closed") {
    let left = load.commands ?? Number.POSITIVE_INFINITY
    const client = Effect.whileLoop({
      while: () => left > 0 && !time.isOver(),
      body: () => {
        left--
        return send(load.next(), nowMs())
      },
      step: () => {}
    })
    yield* Effect.replicateEffect(client, load.pace.concurrency, { concurrency: "unbounded", discard: true })
  } else {
    yield* Effect.scoped(sendOnTime(load, load.pace, time, send))
  }
  return (nowMs() - start) / 1_000
})

/** Commands of a warm-up met defects, or it did not come to its end. */
export class WarmUpFailed extends Data.TaggedError("WarmUpFailed")<{ readonly reason: string }> {
  override get message() {
    return `the warm-up failed: ${this.reason}`
  }
}

/**
 * Runs so many commands of a load before it is measured: until V8 has compiled what commands run through, each costs a
 * process several times as much. A number of commands and no length in time, so that each of several nodes, which share
 * the cores, is as warm as one that has them alone. The commands are judged as all others are.
 */
export const warmUp = Effect.fn("LoadTest.warmUp")(function* (
  load: Omit<Load, "seconds" | "meter">,
  commands: number
) {
  const meter = new Meter()
  const pace: Pace = load.pace._tag === "Closed" ? load.pace : { _tag: "Closed", concurrency: warmUpClients }
  const seconds = yield* runLoad({ ...load, pace, commands, seconds: warmUpSecondsMax, meter })
  const [defect] = meter.defects
  if (defect !== undefined) return yield* new WarmUpFailed({ reason: defect })
  if (seconds >= warmUpSecondsMax)
    return yield* new WarmUpFailed({ reason: `${commands} commands took more than ${warmUpSecondsMax} s` })
})

/** Sends one command until it has a definite answer. Its latency counts from `startedAt`. */
type Send = (command: Command, startedAt: number) => Effect.Effect<void>

/** A command that is being sent, for the first time or again. */
interface Sending {
  readonly command: Command
  readonly sent: Sent
  readonly startedAt: number
  readonly resends: number
}

const makeSend = (load: Load, { nowMs, start, isOver }: LoadClock): Send => {
  const { driver, meter, acknowledged } = load
  const isClosed = load.pace._tag === "Closed"

  const attempt = (sending: Sending): Effect.Effect<void> =>
    Effect.suspend(() => {
      const calledAt = nowMs()
      return Effect.flatMap(Effect.exit(driver.dispatch(sending.command)), (exit) =>
        onExit(sending, exit, calledAt)
      )
    })
  const sendAgain = (sending: Sending, pauseMs: number) =>
    Effect.delay(attempt({ ...sending, resends: sending.resends + 1 }), pauseMs)

  const onExit = (sending: Sending, exit: Exit.Exit<Receipt, CommandError>, calledAt: number) => {
    const { command, sent, startedAt } = sending
    const now = nowMs()
    if (Exit.isSuccess(exit)) {
      const receipt = exit.value
      acknowledged.accepted(command, sent, receipt)
      meter.accepted(receipt.replayed, now - startedAt, now - start)
      load.onReceipt?.(receipt, command)
      if (!receipt.replayed) load.onAccepted(receipt, command)
      return Effect.void
    }
    const error = Cause.findErrorOption(exit.cause)
    if (error._tag === "Some") return onError(sending, error.value, calledAt, now)
    meter.defects.push(Cause.pretty(exit.cause))
    acknowledged.unknown(command)
    return Effect.void
  }

  const onError = (sending: Sending, error: CommandError, calledAt: number, now: number) => {
    switch (error._tag) {
      case "Overloaded": {
        meter.refusedForLoad(now - calledAt)
        if (!isClosed || isOver()) return Effect.void
        return sendAgain(sending, Math.min(error.retryAfterMs, backOffMaxMs))
      }
      case "Unavailable": {
        meter.unavailable++
        return isClosed && !isOver() ? sendAgain(sending, resendPauseMs) : Effect.void
      }
      case "Indeterminate": {
        meter.indeterminate++
        acknowledged.unknown(sending.command)
        return sending.resends < resendsMax ? sendAgain(sending, resendPauseMs) : Effect.void
      }
      default: {
        meter.rejected(error, now - sending.startedAt, now - start)
        const { command } = sending
        if (load.isTrueRefusal?.(command, error) === false)
          acknowledged.blame(
            "I7",
            `${command.commandId} was refused, which was true of no state: ${error.message}`
          )
        return Effect.void
      }
    }
  }
  return (command, startedAt) => attempt({ command, sent: acknowledged.sent(command), startedAt, resends: 0 })
}

/**
 * Sends each command when it is due, or later where too many are under way, but timed from when it was due. A command
 * that the node has no room for is offered again in place of the next one, because to generate a command costs more
 * than to refuse it, and a load that generated one for each refusal would measure itself.
 */
const sendOnTime = Effect.fnUntraced(function* (
  load: Load,
  pace: Pace & { readonly _tag: "Open" },
  { nowMs, start }: LoadClock,
  send: Send
) {
  const { meter } = load
  const refused: Array<Command> = []
  const senders = yield* makeSenders(send)
  const offer = (command: Command, dueAt: number): void => {
    const calledAt = nowMs()
    recordMs(meter.delays, calledAt - dueAt)
    if (load.driver.precheck?.(command) === undefined) return senders.start(command, dueAt)
    meter.refusedForLoad(nowMs() - calledAt)
    refused.push(command)
  }
  const take = (count: number): ReadonlyArray<Command> => {
    const again = refused.splice(-count)
    if (again.length === count) return again
    const startedAt = nowMs()
    const generated = Array.from({ length: count - again.length }, load.next)
    meter.generatedMs += nowMs() - startedAt
    meter.generated += generated.length
    return again.concat(generated)
  }
  const total = Math.floor(pace.perSecond * load.seconds)
  let issued = 0
  /** True when the time is over. */
  const sendDue = Effect.sync(() => {
    const atMs = nowMs() - start
    const due = Math.min(total, Math.floor((atMs / 1_000) * pace.perSecond) + 1)
    while (nowMs() - start < load.seconds * 1_000 + lateMaxMs) {
      const room = Math.min(due - issued, pace.outstandingMax - senders.busy(), generatedMax)
      if (room <= 0) break
      for (const command of take(room)) offer(command, start + (issued++ / pace.perSecond) * 1_000)
    }
    return atMs >= load.seconds * 1_000
  })
  yield* Effect.repeat(sendDue, { schedule: Schedule.spaced(tickMs), until: (isOver) => isOver })
  meter.unsent = total - issued
  yield* senders.idle
})

/** A fiber for each command under way. One that is answered at once is not registered, to keep the load itself cheap. */
const makeSenders = Effect.fnUntraced(function* (send: Send) {
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const sending = yield* FiberSet.make<void>()
  return {
    busy: () => (sending.state._tag === "Open" ? sending.state.backing.size : 0),
    idle: FiberSet.awaitEmpty(sending),
    start: (command: Command, dueAt: number): void => {
      const fiber = run(send(command, dueAt))
      if (fiber.pollUnsafe() === undefined) FiberSet.addUnsafe(sending, fiber)
    }
  }
})
