/** Emmett as a contender: reads the stream of an account, decides, appends with the expected version, and retries on a conflict. */
import { type Event, isExpectedVersionConflictError } from "@event-driven-io/emmett"
import { getPostgreSQLEventStore } from "@event-driven-io/emmett-postgresql"
import { Effect } from "effect"
import { makeHistogram, recordMs, summarize } from "../../src/loadtest/Meter.ts"
import type { Contender, Kind, Setting } from "./Contender.ts"

const inFlight = 16
/** Streams of ten events. Emmett replays a whole stream for each command, so that longer ones are slower. */
const streams = 1_000
const seeded = 10

type Moved = Event<"Deposited" | "Withdrawn", { readonly amount: number }>

const evolve = (balance: number, { type, data }: Moved): number =>
  type === "Deposited" ? balance + data.amount : balance - data.amount
const initialState = () => 0

export const makeEmmett = Effect.fnUntraced(function* ({ database }: Setting) {
  const url = yield* database
  const store = yield* Effect.acquireRelease(
    Effect.sync(() => getPostgreSQLEventStore(url)),
    (opened) => Effect.promise(() => opened.close())
  )
  const deposit = (amount: number): Moved => ({ type: "Deposited", data: { amount } })
  let hotStreams = 0
  const seed = (id: string) =>
    store.appendToStream<Moved>(
      id,
      Array.from({ length: seeded }, () => deposit(1_000_000))
    )
  yield* Effect.promise(async () => {
    await store.schema.migrate()
    for (let start = 0; start < streams; start += inFlight) {
      await Promise.all(Array.from({ length: inFlight }, (_, index) => seed(`account-${start + index}`)))
    }
  })

  const withdraw = async (id: string): Promise<void> => {
    for (let tries = 0; ; tries++) {
      const { state, currentStreamVersion } = await store.aggregateStream<number, Moved>(id, {
        evolve,
        initialState
      })
      if (state < 1) throw new Error(`${id} does not cover 1`)
      try {
        await store.appendToStream<Moved>(id, [{ type: "Withdrawn", data: { amount: 1 } }], {
          expectedStreamVersion: currentStreamVersion
        })
        return
      } catch (error) {
        if (!isExpectedVersionConflictError(error)) throw error
        const pauseMs = Math.random() * Math.min(50, 2 ** Math.min(tries, 6))
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
      }
    }
  }

  const run = async (kind: Kind, seconds: number) => {
    const histogram = makeHistogram()
    // A new stream for each round, because the rounds would otherwise replay streams of different lengths.
    const hot = `hot-${hotStreams++}`
    if (kind === "hot") await seed(hot)
    const start = performance.now()
    const end = start + seconds * 1_000
    const client = async () => {
      while (performance.now() < end) {
        const sentAt = performance.now()
        await withdraw(kind === "hot" ? hot : `account-${Math.floor(Math.random() * streams)}`)
        recordMs(histogram, performance.now() - sentAt)
      }
    }
    await Promise.all(Array.from({ length: inFlight }, client))
    const { p99, max } = summarize(histogram)
    const perSecond = histogram.totalCount / ((performance.now() - start) / 1_000)
    return { perSecond, p99Ms: p99, maxMs: max }
  }
  return {
    name: "Emmett 0.42",
    note: `commands on ONE account (it appends to one stream at a time): half a transfer; ${inFlight} in flight, streams of ${seeded} events and growing`,
    kinds: ["uniform", "hot"],
    run: (kind, seconds) => Effect.promise(() => run(kind, seconds))
  } satisfies Contender
})
