/** Requests of the load test enter a node process; its share of the accounts and of the load is done, and told of. */
import { Clock, Effect, Fiber, Result } from "effect"
import { encodeIntoCompressedBase64 } from "hdr-histogram-js"
import type { Dispatcher } from "../../actors/commands/Dispatcher.ts"
import { accountsOf, type Command } from "../../domain/Command.ts"
import { Acknowledged } from "../Acknowledged.ts"
import type { Driver } from "../Driver.ts"
import { markEveryMs } from "../Lag.ts"
import { runLoad } from "../Load.ts"
import { Meter } from "../Meter.ts"
import { prepareAccounts } from "../Prepare.ts"
import { withRepeats } from "../Repeats.ts"
import { makeRng } from "../Rng.ts"
import { makeRunIds } from "../RunIds.ts"
import { makeScenario } from "../Scenario.ts"
import { driverOf } from "../Services.ts"
import type { Pace } from "../Settings.ts"
import { measureSingleClient } from "../SingleClient.ts"
import { AckJournal } from "./AckJournal.ts"
import type { Answer, FromNode, NodeWork, Report, Request, ToNode } from "./Protocol.ts"

const journalEveryMs = 50
const reportEveryMs = 500
/** Every so many reports bring the whole distribution along. */
const histogramsEvery = 2

/** Even shares; the first nodes take what is left over. */
const shareOf = (whole: number, { nth, nodes }: NodeWork): number =>
  Math.floor(whole / nodes) + (nth < whole % nodes ? 1 : 0)

const paceOf = (work: NodeWork): Pace => {
  const { pace } = work.settings
  return pace._tag === "Closed"
    ? { _tag: "Closed", concurrency: shareOf(pace.concurrency, work) }
    : {
        _tag: "Open",
        perSecond: pace.perSecond / work.nodes,
        outstandingMax: shareOf(pace.outstandingMax, work)
      }
}

/** Answers requests until interrupted; `receive` gives the messages of the parent to its callback. */
export const serveLoad = Effect.fnUntraced(function* (
  work: NodeWork,
  dispatcher: Dispatcher["Service"],
  post: (message: FromNode) => void
) {
  const { settings, nth, nodes } = work
  const clock = yield* Clock.Clock
  const nowMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const ids = makeRunIds(work.run, settings.scenario === "mixed-zipf")
  const rng = yield* makeRng(`${settings.seed}:${nth}`)
  // The load test's own process is one source more: it prepares what is to be cold.
  const scenario = makeScenario(settings, ids, rng, { nth, of: nodes + 1 })
  const journal = new AckJournal(ids)
  const acknowledged = new Acknowledged(ids, scenario.accountsMax, settings.repeats > 0, journal)
  const ways = { here: 0, borrowing: 0, forwarded: 0 }

  const note = (command: Command): void => {
    const accounts = accountsOf(command)
    const isMine = dispatcher.here.owns
    const [first] = accounts
    if (first === undefined || !isMine(first)) ways.forwarded++
    else if (accounts.every(isMine)) ways.here++
    else ways.borrowing++
  }
  const plain = driverOf(dispatcher)
  const driver: Driver = {
    ...plain,
    dispatch: (command) => {
      note(command)
      return plain.dispatch(command)
    }
  }
  const flush = Effect.sync(() => {
    const records = journal.take()
    if (records !== undefined) post({ _tag: "Acks", records })
  })

  const load = Effect.gen(function* () {
    const meter = new Meter()
    const before = { ...driver.stats() }
    const cpu = process.cpuUsage()
    const loop = performance.eventLoopUtilization()
    const start = nowMs()
    Object.assign(ways, { here: 0, borrowing: 0, forwarded: 0 })
    let reports = 0
    let markedAt = 0
    const report = (isLast: boolean): Report => {
      const { user, system } = process.cpuUsage(cpu)
      return {
        sample: meter.look(nowMs() - start, {
          lagMs: undefined,
          rssMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
          waiting: driver.stats().inFlight
        }),
        committed: meter.committed,
        replayed: meter.replayed,
        rejections: Object.fromEntries(meter.rejections),
        overloaded: meter.overloaded,
        unavailable: meter.unavailable,
        indeterminate: meter.indeterminate,
        unsent: meter.unsent,
        defects: meter.defects.slice(0, 3),
        faults: acknowledged.faults,
        before,
        after: { ...driver.stats() },
        ways: { ...ways },
        cpuUs: user + system,
        eventLoopUtilization: performance.eventLoopUtilization(loop).utilization,
        rssMiBMax: meter.rssMiBMax,
        ...(isLast || reports++ % histogramsEvery === 0
          ? {
              histograms: {
                decided: encodeIntoCompressedBase64(meter.decided),
                refusals: encodeIntoCompressedBase64(meter.refusals)
              }
            }
          : {})
      }
    }
    const reporting = yield* Effect.forkChild(
      Effect.sync(() => post({ _tag: "Report", report: report(false) })).pipe(
        Effect.delay(reportEveryMs),
        Effect.forever
      )
    )
    const seconds = yield* runLoad({
      driver,
      next: withRepeats(scenario.next, settings.repeats, rng, (command) => acknowledged.changed(command)),
      pace: paceOf(work),
      seconds: settings.seconds,
      meter,
      acknowledged,
      onAccepted: ({ postings: [position] }) => {
        const atMs = nowMs()
        if (!settings.readSide || position === undefined || atMs - markedAt < markEveryMs * nodes) return
        markedAt = atMs
        post({ _tag: "Mark", position, atMs })
      }
    })
    yield* Fiber.interrupt(reporting)
    post({ _tag: "Report", report: report(true) })
    return { seconds }
  })

  const answer = (request: Request): Effect.Effect<Answer, { readonly message: string }> => {
    switch (request._tag) {
      case "Prepare":
        return Effect.as(
          prepareAccounts(driver, scenario, acknowledged, request, () => {}),
          {}
        )
      case "Solo":
        return Effect.map(measureSingleClient(driver, scenario, acknowledged), (solo) => ({ solo }))
      case "Load":
        return load
    }
  }

  yield* Effect.forkChild(flush.pipe(Effect.delay(journalEveryMs), Effect.forever))
  return (message: ToNode): Effect.Effect<void> => {
    if (message._tag === "Known") {
      const { versions } = message
      return Effect.sync(() => {
        for (let at = 0; at + 1 < versions.length; at += 2) {
          acknowledged.learn(versions[at] ?? 0, versions[at + 1] ?? 0)
        }
      })
    }
    const { id, request } = message
    return Effect.gen(function* () {
      const result = yield* Effect.result(answer(request))
      // What was told comes before the word that all was told.
      yield* flush
      if (Result.isSuccess(result)) post({ _tag: "Answered", id, answer: result.success })
      else post({ _tag: "Failed", id, reason: result.failure.message })
    })
  }
})
