/** A driver, a source of commands and a pace enter; every command sent until the time is over, metered, leaves. */
import { Cause, Clock, Effect, Exit, Latch } from "effect"
import type { Command } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"
import type { Acknowledged, Sent } from "./Acknowledged.ts"
import type { Driver } from "./Driver.ts"
import type { Meter } from "./Meter.ts"
import type { Pace } from "./Settings.ts"

/** How often a command without a definite answer is sent again, and the pause before it. */
const resendsMax = 20
const resendPauseMs = 250
/** How long a closed-loop client waits at most when it is told to come back later. */
const backOffMaxMs = 1_000
/** How often the open loop looks which commands are due. */
const tickMs = 1

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
  const send = makeSend(load, nowMs, isOver)
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
    yield* Effect.scoped(sendOnTime(load, load.pace, start, nowMs, send))
  }
  return (nowMs() - start) / 1_000
})

type Send = (command: Command, startedAt: number) => Effect.Effect<void>

/** Sends one command until it is settled, or the time is over. */
const makeSend = (load: Load, nowMs: () => number, isOver: () => boolean): Send => {
  const { driver, meter, acknowledged } = load
  const comesBack = load.pace._tag === "Closed"

  const settle = (
    exit: Exit.Exit<Receipt, CommandError>,
    command: Command,
    sent: Sent,
    startedAt: number,
    resends: number
  ): Effect.Effect<void> => {
    const tookMs = nowMs() - startedAt
    if (Exit.isSuccess(exit)) {
      const receipt = exit.value
      acknowledged.accepted(command, sent, receipt)
      meter.accepted(receipt.replayed, tookMs)
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
        meter.refusedForLoad(tookMs)
        return comesBack && !isOver() ? again(Math.min(error.value.retryAfterMs, backOffMaxMs)) : Effect.void
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
        meter.rejected(error.value, tookMs)
        return Effect.void
      }
    }
  }

  const attempt = (command: Command, sent: Sent, startedAt: number, resends: number): Effect.Effect<void> =>
    Effect.flatMap(Effect.exit(driver.dispatch(command)), (exit) =>
      settle(exit, command, sent, startedAt, resends)
    )
  return (command, startedAt) => attempt(command, acknowledged.sent(command), startedAt, 0)
}

/** Starts each command when it is due; where that would be too many at once, late, but timed from when it was due. */
const sendOnTime = Effect.fnUntraced(function* (
  load: Load,
  pace: Pace & { readonly _tag: "Open" },
  start: number,
  nowMs: () => number,
  send: Send
) {
  const scope = yield* Effect.scope
  const idle = Latch.makeUnsafe(true)
  const total = Math.floor(pace.perSecond * load.seconds)
  let issued = 0
  let outstanding = 0
  const done = () => {
    outstanding--
    if (outstanding === 0) idle.openUnsafe()
  }
  for (let isOver = false; !isOver; ) {
    const atMs = nowMs() - start
    isOver = atMs >= load.seconds * 1_000
    const due = Math.min(total, Math.floor((atMs / 1_000) * pace.perSecond) + 1)
    while (issued < due && outstanding < pace.outstandingMax) {
      const dueAt = start + (issued / pace.perSecond) * 1_000
      issued++
      outstanding++
      idle.closeUnsafe()
      yield* Effect.forkIn(Effect.ensuring(send(load.next(), dueAt), Effect.sync(done)), scope)
    }
    if (!isOver) yield* Effect.sleep(tickMs)
  }
  load.meter.unsent = total - issued
  yield* idle.await
})
