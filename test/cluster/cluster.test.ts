/**
 * Three nodes, each a process, over one event store: who owns what, and what becomes of commands when nodes come and go. On
 * PostgreSQL, and on the CockroachDB that CHRONICLE_TEST_COCKROACH_URL names; the locks are always in PostgreSQL.
 */
import { assert, describe, layer } from "@effect/vitest"
import { Clock, Context, Effect, Fiber, Layer, Redacted, Schedule } from "effect"
import { inject } from "vitest"
import type { OtherNode } from "../../src/actors/accounts/Placement.ts"
import { clusterStatus } from "../../src/actors/cluster/ClusterStatus.ts"
import * as ClusterRunner from "../../src/infra/cluster/ClusterRunner.ts"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { freshDatabase, freshEventStore } from "../support/databases.ts"
import { type Attempt, faultsOf, logOf } from "../support/invariants.ts"
import { tally } from "../support/ledgerWorld.ts"
import type { MemberOptions, StormResult } from "../support/memberMain.ts"
import { type Member, startMember } from "../support/members.ts"
import { eventually } from "../support/waiting.ts"

/** The defaults, but for looks that are more frequent: with shorter times a slow machine is taken for a dead one. */
const cluster = { healthCheckMs: 500 }

class World extends Context.Service<
  World,
  {
    readonly members: ReadonlyArray<Member>
    readonly start: (name: string) => ReturnType<typeof startMember>
    readonly eventStoreUrl: string
    readonly locksUrl: string
    readonly attempts: Array<Attempt>
  }
>()("chronicle/test/ClusterWorld") {
  static readonly over = (storeUrl: string) =>
    Layer.effect(
      World,
      Effect.gen(function* () {
        const eventStoreUrl = yield* freshEventStore(storeUrl)
        const locksUrl = yield* freshDatabase(inject("postgresUrl"))
        const options: Omit<MemberOptions, "port" | "name"> = { eventStoreUrl, locksUrl, cluster }
        const start = (name: string) => startMember({ ...options, name })
        const members = yield* Effect.forEach(["node-0", "node-1", "node-2"], start, {
          concurrency: "unbounded"
        })
        return { members, start, eventStoreUrl, locksUrl, attempts: [] }
      })
    )
}

interface Nodes {
  readonly owned: ReadonlyArray<number>
  readonly others: ReadonlyArray<OtherNode>
}

const accounts = Array.from({ length: 60 }, (_, index) => `s${index}`)

const send = (member: Member, ...commands: ReadonlyArray<Readonly<Record<string, unknown>>>) =>
  Effect.gen(function* () {
    const { attempts } = yield* World
    const answered = yield* member.ask<ReadonlyArray<Attempt>>({ _tag: "Send", commands })
    attempts.push(...answered)
    return answered
  })

const outcome = ({ answer }: Attempt): string =>
  typeof answer === "string" ? answer : answer.replayed ? "Replayed" : "Accepted"

const deposit = (account: string, commandId: string) => ({ _tag: "Deposit", account, amount: "1", commandId })
const transfer = (from: string, to: string, amount: string, commandId: string) => ({
  _tag: "Transfer",
  from,
  to,
  amount,
  commandId
})

const owners = (members: ReadonlyArray<Member>, account: string) =>
  Effect.filter(members, (member) => member.ask<boolean>({ _tag: "Owns", account }))

const ownsSome = (member: Member) =>
  eventually(
    `${member.name} owns some`,
    Effect.map(
      Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account })),
      (owned) => owned.length > 2
    )
  )

/** Every account has exactly one owner. */
const settled = (members: ReadonlyArray<Member>) =>
  eventually(
    "each account has one owner",
    Effect.map(
      Effect.forEach(accounts, (account) => owners(members, account)),
      (all) => all.every((some) => some.length === 1)
    )
  )

const invariantsHold = Effect.gen(function* () {
  const { eventStoreUrl, attempts } = yield* World
  const log = yield* Effect.flatMap(EventStore, logOf).pipe(
    Effect.provide(EventStore.layer),
    Effect.provide(EventStoreClient.layer(Redacted.make(eventStoreUrl)))
  )
  assert.deepStrictEqual(faultsOf(log, attempts).slice(0, 10), [])
})

/** The longest time in which no command was accepted, while `meanwhile` happens: deposits on `account`, one after another. */
const longestGap = Effect.fnUntraced(function* (
  by: Member,
  account: string,
  id: string,
  meanwhile: Effect.Effect<void>
) {
  const { attempts } = yield* World
  let isOver = false
  let nth = 0
  const serve = Effect.gen(function* () {
    let served = yield* Clock.currentTimeMillis
    let longest = 0
    for (;;) {
      const wasOver = isOver
      const [answered] = yield* send(by, deposit(account, `${id}-${nth}`))
      const now = yield* Clock.currentTimeMillis
      // What was refused, or is unknown, is sent again with the same id.
      if (answered !== undefined && typeof answered.answer !== "string") {
        nth++
        longest = Math.max(longest, now - served)
        served = now
        if (wasOver) return longest
      }
    }
  })
  const serving = yield* Effect.forkChild(serve)
  yield* eventually(
    "the first is served",
    Effect.sync(() => nth > 3)
  )
  yield* meanwhile
  isOver = true
  const gap = yield* Fiber.join(serving)
  assert.isAbove(attempts.length, 3)
  return gap
})

const report = (what: string, ms: number) =>
  Effect.sync(() => console.info(`${what}: ${ms} ms without service`))

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL
const stores = [
  { store: "PostgreSQL", url: inject("postgresUrl") },
  ...(cockroachUrl === undefined ? [] : [{ store: "CockroachDB", url: cockroachUrl }])
]

describe.each(stores)("three nodes", ({ store, url }) => {
  layer(World.over(url), { timeout: "4 minutes", excludeTestServices: true })(`over one ${store}`, (it) => {
    it.effect("own each account once, and take commands for any of them from anywhere", () =>
      Effect.gen(function* () {
        const { members } = yield* World
        // The first of them has all until the others are there.
        for (const member of members) yield* ownsSome(member)
        yield* settled(members)
        for (const [index, account] of accounts.entries()) {
          const member = members[index % 3]
          if (member === undefined) return
          const answered = yield* send(
            member,
            { _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada", commandId: `open-${account}` },
            { _tag: "Deposit", account, amount: "1000", commandId: `fund-${account}` }
          )
          assert.deepStrictEqual(answered.map(outcome), ["Accepted", "Accepted"])
        }
        const counts = yield* Effect.forEach(members, (member) =>
          Effect.map(
            Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account })),
            (owned) => owned.length
          )
        )
        assert.strictEqual(counts[0] === undefined ? 0 : counts.reduce((sum, count) => sum + count), 60)
        for (const count of counts) assert.isAbove(count, 5)
        // Each of them tells who owns the rest, of which it hears once a second.
        const all = Array.from({ length: defaultClusterLimits.shards }, (_, index) => index + 1)
        for (const member of members)
          yield* eventually(
            `${member.name} tells each shard once`,
            Effect.map(member.ask<Nodes>({ _tag: "Nodes" }), ({ owned, others }) => {
              const names = members.map(({ name }) => name).filter((name) => name !== member.name)
              const shards = [...owned, ...others.flatMap((other) => other.shards)].toSorted((x, y) => x - y)
              return others.map(({ node }) => node).join() === names.join() && shards.join() === all.join()
            })
          )
        const heads = yield* Effect.forEach(members, (member) => member.ask({ _tag: "Head", account: "s7" }))
        assert.deepStrictEqual(heads, [
          { version: 2, balance: "1000" },
          { version: 2, balance: "1000" },
          { version: 2, balance: "1000" }
        ])
      })
    )

    it.effect("tell a reader of the cluster's tables which nodes there are, and which shards each owns", () =>
      Effect.gen(function* () {
        const { locksUrl } = yield* World
        const status = yield* clusterStatus(5_000).pipe(
          // Shards that no account of the tests is in may still be on their way.
          Effect.repeat({ schedule: Schedule.spaced(20), until: ({ unowned }) => unowned.length === 0 }),
          Effect.timeout("150 seconds"),
          Effect.provide(ClusterRunner.layerClient(Redacted.make(locksUrl))),
          Effect.provideService(ClusterConfig, { ...defaultClusterLimits, ...cluster }),
          Effect.scoped
        )
        assert.deepStrictEqual(status.unowned, [])
        assert.deepStrictEqual(
          status.nodes.map(({ node }) => node),
          ["node-0", "node-1", "node-2"]
        )
        const shards = status.nodes.flatMap((node) => node.shards)
        assert.deepStrictEqual([shards.length, new Set(shards).size], [status.shards, status.shards])
        assert.strictEqual(
          status.nodes.reduce((sum, { committed }) => sum + committed, 0),
          120
        )
      })
    )

    it.effect(
      "transfer between accounts of two nodes: accepted, refused, and replayed from any of them",
      () =>
        Effect.gen(function* () {
          const { members } = yield* World
          const [first, second, third] = members
          if (first === undefined || second === undefined || third === undefined) return
          const [from] = yield* Effect.filter(accounts, (account) =>
            first.ask<boolean>({ _tag: "Owns", account })
          )
          const [to] = yield* Effect.filter(accounts, (account) =>
            second.ask<boolean>({ _tag: "Owns", account })
          )
          if (from === undefined || to === undefined) return assert.fail("each owns some")
          const all = (command: Readonly<Record<string, unknown>>) =>
            Effect.forEach(members, (member) =>
              Effect.map(send(member, command), ([one]) => one && outcome(one))
            )
          assert.deepStrictEqual(yield* all(transfer(from, to, "10", "t-1")), [
            "Accepted",
            "Replayed",
            "Replayed"
          ])
          assert.deepStrictEqual(yield* all(transfer(to, from, "5000", "t-2")), [
            "InsufficientFunds",
            "InsufficientFunds",
            "InsufficientFunds"
          ])
          assert.deepStrictEqual(yield* all(transfer(from, to, "11", "t-1")), [
            "CommandIdReused",
            "CommandIdReused",
            "CommandIdReused"
          ])
          assert.deepStrictEqual(yield* third.ask({ _tag: "Head", account: to }), {
            version: 3,
            balance: "1010"
          })
        })
    )

    it.effect("carry a storm of opposite transfers in rings of five to its end, and everyone is served", () =>
      Effect.gen(function* () {
        const { members, attempts } = yield* World
        const storms = yield* Effect.forEach(
          members,
          (member, seed) =>
            member.ask<StormResult>({
              _tag: "Storm",
              storm: { prefix: "s", accounts: 30, shape: "rings", seconds: 3, concurrency: 12, seed }
            }),
          { concurrency: "unbounded" }
        )
        for (const storm of storms) attempts.push(...storm.attempts)
        for (const storm of storms) {
          assert.isAbove(tally(storm.attempts.map(outcome)).Accepted ?? 0, 0)
          // A starved machine may have a command sent again, but none is left without a definite answer.
          const last = new Map(storm.attempts.map((attempt) => [attempt.commandId, outcome(attempt)]))
          assert.deepStrictEqual(
            [...last.values()].filter((tag) => !["Accepted", "Replayed", "InsufficientFunds"].includes(tag)),
            []
          )
        }
        yield* eventually(
          "every leased account is returned",
          Effect.map(
            Effect.forEach(members, (member) => member.ask<{ held: number }>({ _tag: "Stats" })),
            (stats) => stats.every(({ held }) => held === 0)
          )
        )
        yield* invariantsHold
      })
    )

    it.effect("serve on while one joins, and again while it leaves", () =>
      Effect.gen(function* () {
        const { members, start } = yield* World
        const [first] = members
        if (first === undefined) return
        const joined = yield* start("node-3")
        const all = [...members, joined]
        yield* ownsSome(joined)
        yield* settled(all)
        const [theirs] = yield* Effect.filter(accounts, (account) =>
          joined.ask<boolean>({ _tag: "Owns", account })
        )
        if (theirs === undefined) return assert.fail("it owns some")
        const gap = yield* longestGap(
          first,
          theirs,
          "drain",
          Effect.asVoid(Effect.andThen(joined.signal("SIGTERM"), joined.ended))
        )
        yield* report("SIGTERM", gap)
        yield* settled(members)
        yield* invariantsHold
      }).pipe(Effect.scoped)
    )

    it.effect("are not harmed by a frozen node that wakes after its accounts have moved", () =>
      Effect.gen(function* () {
        const { members } = yield* World
        const [first, second, third] = members
        if (first === undefined || second === undefined || third === undefined) return
        const [theirs] = yield* Effect.filter(accounts, (account) =>
          third.ask<boolean>({ _tag: "Owns", account })
        )
        if (theirs === undefined) return assert.fail("it owns some")
        const takenOver = eventually(
          "another owns the account",
          Effect.map(owners([first, second], theirs), (some) => some.length === 1)
        )
        const gap = yield* longestGap(
          first,
          theirs,
          "freeze",
          Effect.andThen(third.signal("SIGSTOP"), takenOver)
        )
        yield* report("SIGSTOP", gap)
        // It wakes, and in the same moment is asked for what it believed to own, as the new owner is.
        yield* third.signal("SIGCONT")
        const both = yield* Effect.forEach(
          Array.from({ length: 40 }),
          (_, index) => send(index % 2 === 0 ? third : first, deposit(theirs, `awake-${index}`)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(tally(both.flat().map(outcome)), { Accepted: 40 })
        yield* settled(members)
        yield* invariantsHold
      })
    )

    it.effect("take over what a killed one owned", () =>
      Effect.gen(function* () {
        const { members } = yield* World
        const [first, second, third] = members
        if (first === undefined || second === undefined || third === undefined) return
        // It may not have been given accounts again after it was frozen.
        yield* ownsSome(third)
        yield* settled(members)
        const [theirs] = yield* Effect.filter(accounts, (account) =>
          third.ask<boolean>({ _tag: "Owns", account })
        )
        if (theirs === undefined) return assert.fail("it owns some")
        const gap = yield* longestGap(
          first,
          theirs,
          "kill",
          Effect.asVoid(Effect.andThen(third.signal("SIGKILL"), third.ended))
        )
        yield* report("SIGKILL", gap)
        yield* settled([first, second])
        yield* invariantsHold
      })
    )
  })
})
