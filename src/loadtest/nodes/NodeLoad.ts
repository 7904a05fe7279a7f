/** What a node process does when the load test asks for it: prepares its part of the accounts, runs its part of the load, and reports on it. */
import { Clock, Effect, Fiber, Result, Schedule } from "effect"
import { encodeIntoCompressedBase64 } from "hdr-histogram-js"
import type { Dispatcher } from "../../actors/commands/Dispatcher.ts"
import { accountsOf, type Command, firstAccountOf } from "../../domain/Command.ts"
import type { CommandError } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { Acknowledged } from "../Acknowledged.ts"
import type { Driver } from "../Driver.ts"
import { markEveryMs } from "../Lag.ts"
import { runLoad, warmUp } from "../Load.ts"
import { Meter } from "../Meter.ts"
import { prepareAccounts } from "../Prepare.ts"
import { loadOf, mayBeRefused } from "../Refusals.ts"
import { withRepeats } from "../Repeats.ts"
import { makeRng, type Rng } from "../Rng.ts"
import { type RunIds, runIdsFor } from "../RunIds.ts"
import { makeScenario, type Scenario } from "../Scenario.ts"
import { driverOf } from "../Services.ts"
import type { Pace } from "../Settings.ts"
import { measureSingleClient } from "../SingleClient.ts"
import { AckJournal } from "./AckJournal.ts"
import type { Answer, FromNode, NodeWork, Report, Request, ToNode, Ways } from "./Protocol.ts"

const flushEveryMs = 50
const reportEveryMs = 500
/** Every second report carries the latency distribution. */
const histogramsEvery = 2

/** An even share of a whole number. The first nodes take the remainder. */
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

/** Everything that the requests to one node have in common. */
interface NodeRun {
  readonly work: NodeWork
  readonly rng: Rng
  readonly scenario: Scenario
  readonly acknowledged: Acknowledged
  readonly driver: Driver
  readonly ways: Ways
  readonly owns: (account: AccountId) => boolean
  readonly ids: RunIds
  readonly post: (message: FromNode) => void
}

/** The dispatcher as the driver of a load, with counts of where the accounts of the commands were. */
const countedDriver = (dispatcher: Dispatcher["Service"]) => {
  const ways = { here: 0, borrowing: 0, forwarded: 0 }
  const count = (command: Command): void => {
    const accounts = accountsOf(command)
    const isMine = dispatcher.localNode.owns
    const [first] = accounts
    if (first === undefined || !isMine(first)) ways.forwarded++
    else if (accounts.every(isMine)) ways.here++
    else ways.borrowing++
  }
  const plain = driverOf(dispatcher)
  const driver: Driver = {
    ...plain,
    dispatch: (command) => {
      count(command)
      return plain.dispatch(command)
    }
  }
  return { driver, ways }
}

/** Makes reports of a load that begins now. The last report always carries the latency distributions. */
const makeReporter = ({ acknowledged, driver, ways }: NodeRun, meter: Meter, nowMs: () => number) => {
  const before = { ...driver.stats() }
  const cpu = process.cpuUsage()
  const loop = performance.eventLoopUtilization()
  const start = nowMs()
  let reports = 0
  return (isLast: boolean): Report => {
    const { user, system } = process.cpuUsage(cpu)
    return {
      sample: meter.sample(nowMs() - start, {
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
      ...(isLast || reports++ % histogramsEvery === 0 ? { histograms: histogramsOf(meter) } : {})
    }
  }
}

const histogramsOf = (meter: Meter): NonNullable<Report["histograms"]> => ({
  decided: encodeIntoCompressedBase64(meter.decided),
  refusals: encodeIntoCompressedBase64(meter.refusals)
})

/** Commands drawn for one whose first account is this node's, at most; a node may own none for a moment. */
const drawsMax = 200

/**
 * Draws commands that this node's callers would give to it: those whose first account it owns, where they know that.
 * What opens an account is given to any node, for later commands count on it.
 */
const drawnFor = ({ work, scenario }: NodeRun, owns: (account: AccountId) => boolean) => {
  if (work.settings.callers === "any") return scenario.next
  const isFor = (command: Command): boolean => command._tag === "OpenAccount" || owns(firstAccountOf(command))
  return (): Command => {
    let command = scenario.next()
    for (let draws = 1; draws < drawsMax && !isFor(command); draws++) command = scenario.next()
    return command
  }
}

/** What this node sends, and what it makes of the answers. `onTimely`: called with receipts, for the lag of the read side. */
const sendingOf = (run: NodeRun, onTimely: (receipt: Receipt) => void) => {
  const { work, rng, acknowledged, driver } = run
  const { settings } = work
  return {
    driver,
    next: withRepeats(drawnFor(run, run.owns), settings.repeats, rng, (command) =>
      acknowledged.changed(command)
    ),
    pace: paceOf(work),
    acknowledged,
    isTrueRefusal: (command: Command, error: CommandError) =>
      mayBeRefused(command, error, loadOf(run.ids, settings, acknowledged)) ||
      run.scenario.mayBeRefused?.(command, error) === true,
    onReceipt: (receipt: Receipt, command: Command) => {
      const fault = run.scenario.accepted?.(command, receipt)
      if (fault !== undefined) acknowledged.blame("I7", fault)
    },
    onAccepted: onTimely
  }
}

const load = Effect.fnUntraced(function* (run: NodeRun) {
  const { work, ways, post } = run
  const { settings, nodes } = work
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  const meter = new Meter()
  Object.assign(ways, { here: 0, borrowing: 0, forwarded: 0 })
  const report = makeReporter(run, meter, nowMs)
  const reporting = yield* Effect.sync(() => post({ _tag: "Report", report: report(false) })).pipe(
    Effect.schedule(Schedule.spaced(reportEveryMs)),
    Effect.forkChild
  )
  let markedAt = 0
  const mark = (receipt: Receipt): void => {
    const [position] = receipt.postings
    const atMs = nowMs()
    if (!settings.readSide || position === undefined || atMs - markedAt < markEveryMs * nodes) return
    markedAt = atMs
    post({ _tag: "Mark", position, atMs })
  }
  const seconds = yield* runLoad({ ...sendingOf(run, mark), seconds: settings.seconds, meter })
  yield* Fiber.interrupt(reporting)
  post({ _tag: "Report", report: report(true) })
  return { seconds }
})

const measureAlone = (run: NodeRun): Effect.Effect<Answer> =>
  Effect.map(measureSingleClient({ ...sendingOf(run, () => {}), next: run.scenario.next }), (latency) => ({
    latency
  }))

/** The answer is the handler of the parent's messages. */
export const serveLoad = Effect.fnUntraced(function* (
  work: NodeWork,
  dispatcher: Dispatcher["Service"],
  post: (message: FromNode) => void
) {
  const { settings, nth, nodes } = work
  const ids = runIdsFor(work.run, settings)
  const rng = yield* makeRng(`${settings.seed}:${nth}`)
  // The load test's own process is one part more, because it prepares the cold accounts.
  const scenario = makeScenario(settings, ids, rng, { nth, of: nodes + 1 })
  const journal = new AckJournal(ids)
  const acknowledged = new Acknowledged(ids, scenario.accountsMax, settings.repeats > 0, journal)
  const run: NodeRun = {
    work,
    rng,
    scenario,
    acknowledged,
    ...countedDriver(dispatcher),
    owns: dispatcher.localNode.owns,
    ids,
    post
  }
  const { driver } = run

  const answer = (request: Request): Effect.Effect<Answer, { readonly message: string }> => {
    switch (request._tag) {
      case "Prepare":
        return Effect.as(
          prepareAccounts(driver, scenario, acknowledged, request, () => {}),
          {}
        )
      case "SingleClient":
        return measureAlone(run)
      case "WarmUp":
        return Effect.as(
          warmUp(
            sendingOf(run, () => {}),
            settings.warmUp ?? 0
          ),
          {}
        )
      case "Load":
        return load(run)
    }
  }
  const flush = Effect.sync(() => {
    const records = journal.take()
    if (records !== undefined) post({ _tag: "Acks", records })
  })
  yield* Effect.forkChild(Effect.schedule(flush, Schedule.spaced(flushEveryMs)))
  return (message: ToNode): Effect.Effect<void> => {
    if (message._tag === "Versions") {
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
      // The answer says that every record was sent, hence the records go first.
      yield* flush
      if (Result.isSuccess(result)) post({ _tag: "Answered", id, answer: result.success })
      else post({ _tag: "Failed", id, reason: result.failure.message })
    })
  }
})
