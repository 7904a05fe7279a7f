/** A driver, a source of commands and a pace enter; every command sent until the time is over, metered, leaves. */
import { Cause, Clock, Effect, Exit, Fiber, Latch } from "effect"
import { wholeNode } from "../actors/commands/AdmissionControl.ts"
import type { Command } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"
import type { Acknowledged, Sent } from "./Acknowledged.ts"
import type { Driver } from "./Driver.ts"
import { type Meter, recordMs } from "./Meter.ts"
import type { Pace } from "./Settings.ts"

/** How often a command without a definite answer is sent again, and the pause before it. */
const resendsMax = 20
const resendPauseMs = 250
/** How long a closed-loop client waits at most when it is told to come back later. */
const backOffMaxMs = 1_000
/** How often the open loop looks which commands are due, and how many it rng at once. */
const tickMs = 1
const drawMax = 64
/** How long after its end it may still be sending what was due by then; the rest is counted as not sent. */
const lateMaxMs = 5_000

export interface Load {
  readonly driver: Driver
  readonly next: () => Command
  readonly pace: Pace
  readonly seconds: number
  readonly meter: Meter
  readonly acknowledged: Acknowledged
  /** Called with each accepted command that was not a replay. */
  readonly onAccepted: (receipt: Receipt) => void
}

/** Runs the load; ends when the time is over and every command sent is answered. Answers the seconds it took. */
export const runLoad = Effect.fn("LoadTest.load")(function* (load: Load) {
  const clock = yield* Clock.Clock
  const nowMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const start = nowMs()
  const end = start + load.seconds * 1_000
  const isOver = () => nowMs() >= end
  const refused: Array<Command> = []
  const send = makeSend(load, nowMs, start, isOver, refused)
  if (load.pace._tag === "Closed") {
    const client = Effect.whileLoop({
      while: () => !isOver(),
      body: () => send(load.next(), nowMs()),
      step: () => {}
    })
    yield* Effect.all(
      Array.from({ length: load.pace.concurrency }, () => client),
      {
        concurrency: "unbounded",
        discard: true
      }
    )
  } else {
    yield* Effect.scoped(sendOnTime(load, load.pace, start, nowMs, send, refused))
  }
  return (nowMs() - start) / 1_000
})

type Send = (command: Command, startedAt: number) => Effect.Effect<void>

/** Sends one command until it is settled, or the time is over; an open loop's goes to `refused` where there was no room. */
const makeSend = (
  load: Load,
  nowMs: () => number,
  start: number,
  isOver: () => boolean,
  refused: Array<Command>
): Send => {
  const { driver, meter, acknowledged } = load
  const comesBack = load.pace._tag === "Closed"

  const settle = (
    exit: Exit.Exit<Receipt, CommandError>,
    command: Command,
    sent: Sent,
    startedAt: number,
    calledAt: number,
    resends: number
  ): Effect.Effect<void> => {
    const now = nowMs()
    const tookMs = now - startedAt
    if (Exit.isSuccess(exit)) {
      const receipt = exit.value
      acknowledged.accepted(command, sent, receipt)
      meter.accepted(receipt.replayed, tookMs, now - start)
      if (!receipt.replayed) load.onAccepted(receipt)
      return Effect.void
    }
    const error = Cause.findErrorOption(exit.cause)
    if (error._tag === "None") {
      meter.defects.push(Cause.pretty(exit.cause))
      acknowledged.unknown(command)
      return Effect.void
    }
    const again = (pauseMs: number) =>
      Effect.flatMap(Effect.sleep(pauseMs), () => attempt(command, sent, startedAt, resends + 1))
    switch (error.value._tag) {
      case "Overloaded": {
        meter.refusedForLoad(now - calledAt)
        if (comesBack) return isOver() ? Effect.void : again(Math.min(error.value.retryAfterMs, backOffMaxMs))
        // One that one account has no room for would keep others from being offered; one that was sent before may be in.
        if (resends === 0 && error.value.what === wholeNode) refused.push(command)
        return Effect.void
      }
      case "Unavailable": {
        meter.unavailable++
        return comesBack && !isOver() ? again(resendPauseMs) : Effect.void
      }
      case "Indeterminate": {
        meter.indeterminate++
        acknowledged.unknown(command)
        return resends < resendsMax ? again(resendPauseMs) : Effect.void
      }
      default: {
        meter.rejected(error.value, tookMs, now - start)
        return Effect.void
      }
    }
  }

  const attempt = (command: Command, sent: Sent, startedAt: number, resends: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      const calledAt = nowMs()
      return Effect.flatMap(Effect.exit(driver.dispatch(command)), (exit) =>
        settle(exit, command, sent, startedAt, calledAt, resends)
      )
    })
  return (command, startedAt) => attempt(command, acknowledged.sent(command), startedAt, 0)
}

/**
 * Starts each command when it is due; where that would be too many at once, late, but timed from when it was due. What
 * was refused for want of room is what is offered next: drawing another for each refusal would measure the drawing.
 */
const sendOnTime = Effect.fnUntraced(function* (
  load: Load,
  pace: Pace & { readonly _tag: "Open" },
  start: number,
  nowMs: () => number,
  send: Send,
  refused: Array<Command>
) {
  const { meter } = load
  const senders = yield* makeSenders(send)
  const offer = (command: Command, dueAt: number): void => {
    const calledAt = nowMs()
    recordMs(meter.delays, calledAt - dueAt)
    if (load.driver.refusal?.(command) === undefined) return senders.start(command, dueAt)
    meter.refusedForLoad(nowMs() - calledAt)
    refused.push(command)
  }
  const total = Math.floor(pace.perSecond * load.seconds)
  let issued = 0
  const draw = (count: number): ReadonlyArray<Command> => {
    const again = refused.splice(-count)
    if (again.length === count) return again
    const drawnAt = nowMs()
    const drawn = Array.from({ length: count - again.length }, load.next)
    meter.drawnMs += nowMs() - drawnAt
    meter.drawn += drawn.length
    return again.concat(drawn)
  }
  for (let isOver = false; !isOver; ) {
    const atMs = nowMs() - start
    isOver = atMs >= load.seconds * 1_000
    const due = Math.min(total, Math.floor((atMs / 1_000) * pace.perSecond) + 1)
    while (nowMs() - start < load.seconds * 1_000 + lateMaxMs) {
      const room = Math.min(due - issued, pace.outstandingMax - senders.busy(), drawMax)
      if (room <= 0) break
      for (const command of draw(room)) {
        offer(command, start + (issued++ / pace.perSecond) * 1_000)
      }
    }
    if (!isOver) yield* Effect.sleep(tickMs)
  }
  meter.unsent = total - issued
  yield* senders.idle
})

/** A fiber a command. The load is to weigh little beside what it measures: what is answered at once costs nothing more. */
const makeSenders = Effect.fnUntraced(function* (send: Send) {
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const idle = Latch.makeUnsafe(true)
  const sending = new Set<Fiber.Fiber<void>>()
  yield* Effect.addFinalizer(() => Fiber.interruptAll(sending))
  return {
    busy: () => sending.size,
    idle: idle.await,
    start: (command: Command, dueAt: number): void => {
      const fiber = run(send(command, dueAt))
      if (fiber.pollUnsafe() !== undefined) return
      sending.add(fiber)
      idle.closeUnsafe()
      fiber.addObserver(() => {
        sending.delete(fiber)
        if (sending.size === 0) idle.openUnsafe()
      })
    }
  }
})
