/** A batch over accounts of several nodes takes effect on every account in its order. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Latch } from "effect"
import { TestClock } from "effect/testing"
import type { Placing } from "../../src/actors/accounts/Placement.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  tally,
  toCommand,
  transfer,
  until,
  withdraw
} from "../support/ledgerWorld.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"

const nodes = 3

it.live("a chain of transfers over three nodes is accepted in one batch", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const cluster = new SimulatedCluster(nodes, nodes)
    const started = yield* Effect.forEach([0, 1, 2], (index) =>
      Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index) }), (node) =>
        Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    )
    const accounts = Array.from({ length: 9 }, (_, nth) => `a${nth}`)
    // Each command but the first needs what the one before it did, on an account of another node.
    const batch = [
      ...accounts.map((account) => open(account)),
      deposit("a0", 100n, "in"),
      ...accounts
        .slice(1)
        .flatMap((to, nth) => [
          transfer(`a${nth}`, to, 100n, `on-${nth}`),
          withdraw(to, 1n, `fee-${nth}`),
          deposit(to, 1n, `back-${nth}`)
        ]),
      withdraw("a8", 100n, "out")
    ].map(toCommand)
    for (const [nth, { dispatcher }] of started.entries()) {
      const results = yield* dispatcher.dispatchMany(batch)
      const expected = nth === 0 ? "Accepted" : "Replayed"
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { [expected]: batch.length })
    }
    assert.lengthOf(yield* readStream(store, "a4"), 5)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("a batch keeps its order where a shard leaves this node between two waves of it", () =>
  Effect.gen(function* () {
    const cluster = new SimulatedCluster(2, 3)
    const placement = cluster.placementOf(0)
    let isMoving = false
    /** Shard 0 leaves for the other node while the first wave is there; the message that follows it takes long. */
    const moving: Placing = {
      ...placement,
      dispatch: (account, commands, isAgain) =>
        placement.dispatch(account, commands, isAgain).pipe(
          Effect.tap(() => {
            if (!isMoving) return Effect.void
            isMoving = false
            cluster.script = () => "slow"
            return cluster.move(0, 1)
          })
        )
    }
    const node = yield* startNode("node-0", { placement: moving })
    cluster.join(0, node.dispatcher.localNode)
    const other = yield* startNode("node-1", { placement: cluster.placementOf(1) })
    cluster.join(1, other.dispatcher.localNode)
    yield* fund(node, ["p1", "x0", "y2", "z2"], 100n)
    isMoving = true
    // Each takes all that the one before brought: the first is of the other node, the others of this one at the beginning.
    const batch = [
      transfer("p1", "x0", 100n, "one"),
      transfer("x0", "y2", 200n, "two"),
      transfer("y2", "z2", 300n, "three")
    ].map(toCommand)
    const results = yield* node.dispatcher.dispatchMany(batch)
    assert.deepStrictEqual(results.map(outcomeOf), ["Accepted", "Accepted", "Accepted"])
    assert.strictEqual(cluster.ownerOf("x0"), 1)
    assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("a batch of several chunks keeps its order where an account of another node comes late", () =>
  Effect.gen(function* () {
    const cluster = new SimulatedCluster(2, 2)
    const started = yield* Effect.forEach([0, 1], (index) =>
      Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index) }), (node) =>
        Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    )
    const [node] = started
    if (node === undefined) return assert.fail("no node was started")
    yield* fund(node, ["a0", "z0", "far1"], 100n)
    cluster.script = () => "slow"
    // The last of the first thousand waits for an account of the other node, and takes all that the next one asks for.
    const batch = [
      ...Array.from({ length: 999 }, (_, nth) => deposit("a0", 1n, `d-${nth}`)),
      transfer("z0", "far1", 100n, "out"),
      withdraw("z0", 100n, "late")
    ].map(toCommand)
    const results = yield* node.dispatcher.dispatchMany(batch)
    assert.deepStrictEqual(results.slice(-2).map(outcomeOf), ["Accepted", "InsufficientFunds"])
    assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("a capture whose hold alone says where it goes does not overtake what waits in its batch", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const faulty = FaultyStore.over(store)
    const cluster = new SimulatedCluster(2, 2)
    const start = (index: number) =>
      Effect.tap(
        startNode(`node-${index}`, {
          placement: cluster.placementOf(index),
          store: index === 0 ? store : faulty.store
        }),
        (node) => Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    const [node, other] = [yield* start(0), yield* start(1)]
    yield* fund(node, ["a0", "a1", "c0"], 100n)
    yield* node.send(open("b1"))
    yield* node.send({ _tag: "PlaceHold", commandId: "h", account: "c0", amount: 100n, to: "b1" })
    // The other node cannot lease `a1`: its commit hangs.
    faulty.hold("commit")
    const hanging = yield* Effect.forkChild(other.send(deposit("a1", 1n)))
    yield* until("the commit hangs", () => faulty.held() > 0)
    const journal: CommandInput = {
      _tag: "PostJournal",
      commandId: "needs-money",
      legs: [
        { account: "a0", side: "credit", amount: 50n },
        { account: "a1", side: "credit", amount: 50n },
        { account: "b1", side: "debit", amount: 100n }
      ]
    }
    const batch = [journal, { _tag: "CaptureHold", commandId: "c", account: "c0", hold: "h" } as const]
    const sent = yield* node.sendBatch(batch)
    yield* Effect.sleep(50)
    faulty.release()
    assert.deepStrictEqual(yield* Fiber.join(sent), ["InsufficientFunds", "Accepted"])
    yield* Fiber.join(hanging)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("a batch keeps its order where its owner is not certain of the shard for a moment", () =>
  Effect.gen(function* () {
    const cluster = new SimulatedCluster(3, 3)
    let isCertain = true
    const leases = { p2: Latch.makeUnsafe(true), q2: Latch.makeUnsafe(true) }
    const asked = new Set<string>()
    const placement = cluster.placementOf(1)
    /** The locks of node 1 are in doubt at times, and node 2 leases its accounts when the test says so. */
    const doubtful: Placing = {
      ...placement,
      owns: (account) => isCertain && placement.owns(account),
      requestLease: (account, lease) => {
        asked.add(account)
        const latch = account === "p2" ? leases.p2 : leases.q2
        return latch.whenOpen(placement.requestLease(account, lease))
      }
    }
    const started = yield* Effect.forEach([0, 1, 2], (index) =>
      Effect.tap(
        startNode(`node-${index}`, { placement: index === 1 ? doubtful : cluster.placementOf(index) }),
        (node) => Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    )
    const [sender, owner] = started
    if (sender === undefined || owner === undefined) return assert.fail("no node was started")
    yield* fund(sender, ["x1", "y1", "p2", "q2"], 100n)
    leases.p2.closeUnsafe()
    leases.q2.closeUnsafe()
    asked.clear()
    // The first takes all that the last one asks for; both wait for an account of the third node.
    const batch = [
      transfer("x1", "p2", 100n, "one"),
      transfer("y1", "q2", 1n, "two"),
      transfer("x1", "q2", 100n, "three")
    ].map(toCommand)
    const sent = yield* Effect.forkChild(sender.dispatcher.dispatchMany(batch))
    yield* until("both accounts are asked for", () => asked.size === 2)
    isCertain = false
    leases.p2.openUnsafe()
    yield* until("the first command is given back", () => owner.dispatcher.stats().inFlight === 1)
    isCertain = true
    leases.q2.openUnsafe()
    const results = yield* Fiber.join(sent)
    assert.deepStrictEqual(results.map(outcomeOf), ["Accepted", "Accepted", "InsufficientFunds"])
    assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

/** Two nodes, of which the first decides on `a0`, `c0` and `e0` and leases `b1` and `d1` as the test says; each account has 100. */
const leasing = Effect.gen(function* () {
  const cluster = new SimulatedCluster(2, 2)
  const store = FaultyStore.over(yield* EventStore)
  const placement = cluster.placementOf(0)
  const asked: Array<string> = []
  const gates = new Map<string, Latch.Latch>()
  const held: Placing = {
    ...placement,
    requestLease: (account, lease) => {
      asked.push(account)
      const leased = placement.requestLease(account, lease)
      return gates.get(account)?.whenOpen(leased) ?? leased
    }
  }
  let fenced: string | undefined
  const answers = new Map<string, Latch.Latch>()
  const fencing: typeof store.store = {
    ...store.store,
    commit: (commit, mayCommit) => {
      const has = (account: string) => commit.events.some(({ accountId }) => accountId === account)
      const [, answer] = [...answers].find(([account]) => has(account)) ?? []
      const inner = store.store.commit(commit, mayCommit)
      const sent = answer === undefined ? inner : Effect.tap(inner, () => answer.await)
      if (fenced === undefined || !has(fenced)) return sent
      fenced = undefined
      return Effect.andThen(Effect.orDie(store.store.fenceWriter(commit.writerId)), sent)
    }
  }
  const node = yield* startNode("node-0", { placement: held, store: fencing })
  cluster.join(0, node.dispatcher.localNode)
  const other = yield* startNode("node-1", { placement: cluster.placementOf(1) })
  cluster.join(1, other.dispatcher.localNode)
  yield* fund(node, ["a0", "b1", "c0", "d1", "e0"], 100n)
  asked.length = 0
  return {
    node,
    store,
    /** The writer of the next commit with events of the account is fenced just before. */
    fence: (account: string) => {
      fenced = account
    },
    /** The answer to commits with events of the account waits for the latch. */
    holdAnswer: (account: string) => {
      const answer = Latch.makeUnsafe(false)
      answers.set(account, answer)
      return answer
    },
    /** How often a lease of the account was asked for. */
    asks: (account: string) => asked.filter((one) => one === account).length,
    hold: (account: string) => gates.set(account, Latch.makeUnsafe(false)),
    grant: (account: string) => gates.get(account)?.openUnsafe()
  }
})

/** Moves money from an account of the second node to one of the first, or back; the latter is named first. */
const bring = (near: string, far: string, amount: bigint, back = false): CommandInput => ({
  _tag: "PostJournal",
  legs: [
    { account: near, side: back ? "debit" : "credit", amount },
    { account: far, side: back ? "credit" : "debit", amount }
  ]
})

for (const before of [0, 999]) {
  it.live(
    `a command that waits again for an account is not overtaken by what comes ${before + 1} behind it`,
    () =>
      Effect.gen(function* () {
        const { asks, fence, hold, grant, node, store } = yield* leasing
        hold("d1")
        fence("b1")
        store.hold("commit")
        const batch = [
          ...Array.from({ length: before }, () => deposit("e0", 1n)),
          bring("a0", "b1", 50n),
          transfer("c0", "d1", 1n),
          deposit("c0", 1n),
          withdraw("a0", 120n)
        ].map(toCommand)
        const sent = yield* Effect.forkChild(node.dispatcher.dispatchMany(batch))
        yield* until("the first two leases are asked for", () => asks("b1") === 1 && asks("d1") === 1)
        yield* Effect.sleep(10)
        hold("b1")
        store.release()
        yield* until("the first one is asked for once more", () => asks("b1") === 2)
        grant("d1")
        yield* Effect.sleep(50)
        grant("b1")
        const results = yield* Fiber.join(sent)
        assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: batch.length })
        assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
      }).pipe(Effect.provide([memoryStores, quiet]))
  )
}

it.live(
  "a batch keeps its order where its writers are fenced one after another, the later commands' first",
  () =>
    Effect.gen(function* () {
      const { asks, hold, holdAnswer, grant, node, store } = yield* leasing
      const answer = holdAnswer("b1")
      const from = store.callsOf("commit")
      store.script = ({ method, nth }) =>
        method === "commit" && nth >= from && nth < from + 2 ? "fenced" : undefined
      store.hold("commit")
      for (const account of ["b1", "d1"]) hold(account)
      // The second is sent by the second lane; the third waits for it in the queue, and loses its decision when the first lane is fenced.
      const batch = [deposit("c0", 1n), bring("a0", "b1", 50n), bring("a0", "d1", 120n, true)]
      const sent = yield* node.sendBatch(batch)
      yield* until("one lane sends", () => store.held() === 1)
      grant("b1")
      yield* until("both lanes send", () => store.held() === 2)
      grant("d1")
      yield* until("all is decided", () => asks("d1") === 1 && node.dispatcher.meters().queued === 1)
      for (const account of ["b1", "d1"]) hold(account)
      store.release()
      yield* until("the third is decided again", () => asks("d1") === 2)
      answer.openUnsafe()
      yield* until("the second is decided again", () => asks("b1") === 2)
      grant("d1")
      yield* Effect.sleep(50)
      grant("b1")
      assert.deepStrictEqual(yield* Fiber.join(sent), ["Accepted", "Accepted", "Accepted"])
      assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect(
  "a command that was refused is not decided again behind one of its batch whose answer was lost with its own",
  () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const cluster = new SimulatedCluster(3, 3)
      const leases = Latch.makeUnsafe(true)
      const placement = cluster.placementOf(1)
      const slow: Placing = {
        ...placement,
        requestLease: (account, lease) => leases.whenOpen(placement.requestLease(account, lease))
      }
      const started = yield* Effect.forEach([0, 1, 2], (index) =>
        Effect.tap(
          startNode(`node-${index}`, { placement: index === 1 ? slow : cluster.placementOf(index) }),
          (node) => Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
        )
      )
      const [sender] = started
      if (sender === undefined) return assert.fail("no node was started")
      const funding = yield* Effect.forkChild(fund(sender, ["x1", "y1", "p2"], 100n))
      yield* TestClock.adjust(1_000)
      yield* Fiber.join(funding)
      leases.closeUnsafe()
      // The last one waits for an account of the third node for longer than the sender waits for the owner's answer.
      const batch = [
        withdraw("x1", 150n, "one"),
        deposit("x1", 100n, "two"),
        transfer("y1", "p2", 1n, "three")
      ]
      const sent = yield* sender.sendBatch(batch)
      yield* TestClock.adjust(defaultClusterLimits.askMs + 500)
      leases.openUnsafe()
      yield* TestClock.adjust(2_000)
      assert.deepStrictEqual(yield* Fiber.join(sent), ["Indeterminate", "Replayed", "Replayed"])
      assert.lengthOf(yield* readStream(store, "x1"), 3)
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("what stands in a batch behind a command that was given up is not done before that may be", () =>
  Effect.gen(function* () {
    const cluster = new SimulatedCluster(3, 3)
    const store = yield* EventStore
    let isLate = false
    const placement = cluster.placementOf(0)
    /** What this node sends to node 1 comes there late, and what that answers is lost. */
    const late: Placing = {
      ...placement,
      dispatch: (account, commands, isAgain) =>
        isLate
          ? Effect.delay(
              Effect.succeed(commands.map(() => ({ _tag: "Unknown" as const }))),
              defaultClusterLimits.askMs
            )
          : placement.dispatch(account, commands, isAgain)
    }
    const started = yield* Effect.forEach([0, 1, 2], (index) =>
      Effect.tap(
        startNode(`node-${index}`, { placement: index === 0 ? late : cluster.placementOf(index) }),
        (node) => Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    )
    const [sender, owner, third] = started
    if (sender === undefined || owner === undefined || third === undefined) return assert.fail("no node")
    yield* fund(sender, ["a0", "b1", "z2"], 100n)
    const batch = [transfer("b1", "z2", 60n, "out"), transfer("a0", "b1", 1n, "in")].map(toCommand)
    isLate = true
    cluster.cutOff(2)
    const sent = yield* Effect.forkChild(sender.dispatcher.dispatchMany(batch))
    yield* TestClock.adjust(8_000)
    // It has it now, and waits for an account that no node leases to it just then.
    const [first] = batch
    if (first === undefined) return assert.fail("no command")
    const waiting = yield* Effect.forkChild(owner.dispatcher.localNode.dispatch([first], false))
    yield* TestClock.adjust(4_000)
    cluster.join(2, third.dispatcher.localNode)
    yield* TestClock.adjust(4_000)
    assert.deepStrictEqual(
      (yield* Fiber.join(waiting)).map(({ _tag }) => _tag),
      ["Done"]
    )
    assert.deepStrictEqual((yield* Fiber.join(sent)).map(outcomeOf), ["Indeterminate", "Unavailable"])
    const ids = (yield* readStream(store, "b1")).map(({ commandId }) => String(commandId))
    assert.deepStrictEqual(ids.slice(2), ["out"])
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)
