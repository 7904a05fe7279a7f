/** What nodes say to each other about accounts, over connections in memory that stand still, break and come back. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, type Duration, Effect, Exit, Fiber, Layer, Logger, Result } from "effect"
import { RunnerAddress } from "effect/cluster"
import { TestClock } from "effect/testing"
import { ClusterShards } from "../../src/actors/cluster/ClusterShards.ts"
import { compactForm, formFingerprint } from "../../src/actors/cluster/PeerCodec.ts"
import { PeerConversation } from "../../src/actors/cluster/PeerConversation.ts"
import type { PeerNotice, PeerRequest, PeerResponse } from "../../src/actors/cluster/PeerMessages.ts"
import { PeerRoutes } from "../../src/actors/cluster/PeerRoutes.ts"
import { Peers } from "../../src/actors/cluster/Peers.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { type ByteReader, ByteWriter } from "../../src/infra/cluster/CompactCodec.ts"
import { FrameReader, makePeerConnection } from "../../src/infra/cluster/PeerConnection.ts"
import { HandshakeRefused, type RefusalReason } from "../../src/infra/cluster/PeerHandshake.ts"
import { ClusterMembers, PeerPort } from "../../src/infra/cluster/PeerPort.ts"
import { streamPair } from "../support/byteStreams.ts"
import { deposit, quiet, toCommand } from "../support/ledgerWorld.ts"

const head = (name: string): PeerRequest => ({ _tag: "Head", account: name as AccountId }) // ids of tests are valid
const nameOf = (request: PeerRequest): string =>
  request._tag === "Dispatch" ? request.commands.map(({ commandId }) => commandId).join() : request.account
const taken: PeerResponse = { _tag: "Taken" }
const elsewhere: PeerResponse = { _tag: "Answers", answers: [{ _tag: "Moved" }] }
const dispatch = (...ids: ReadonlyArray<string>): PeerRequest => ({
  _tag: "Dispatch",
  commands: ids.map((id) => toCommand(deposit("a", 1n, id)))
})
const giveBack: PeerNotice = {
  _tag: "GiveBack",
  account: "a" as AccountId, // as above
  lease: "l-1",
  given: { _tag: "Unchanged" }
}

interface NodeOptions {
  /** What it answers; at once by default. */
  readonly say?: (name: string) => Effect.Effect<PeerResponse>
  readonly shards: ReadonlyArray<number>
  readonly credit?: number
  readonly form?: string
}

const shardsMax = 20
const looksOfTests = 3
const ownedOf = (shards: ReadonlyArray<number>) =>
  Array.from({ length: shardsMax }, (_, shard) => shards.includes(shard))

/** One node that asks, and owns nothing, before `join` gives it peers. */
const asker = (limits: { readonly unsentBytesMax?: number; readonly waitingMax?: number } = {}) =>
  Effect.gen(function* () {
    const owned = ownedOf([]).slice()
    const routes = new PeerRoutes(owned, limits.waitingMax ?? 1_000)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const unsentBytesMax = limits.unsentBytesMax ?? 1_000_000

    const join = Effect.fnUntraced(function* (options: NodeOptions) {
      const pair = yield* streamPair
      const asked: Array<string> = []
      let gone = 0
      const peer = yield* makePeerConnection(pair.far)
      const near = yield* makePeerConnection(pair.near)
      const theirs: PeerConversation = new PeerConversation({
        connection: peer,
        introduction: {
          node: "far",
          address: "far:1",
          form: options.form ?? formFingerprint,
          credit: options.credit ?? 100
        },
        unsentBytesMax,
        looksOf: () => looksOfTests,
        answer: (request) => {
          asked.push(nameOf(request))
          return Effect.onInterrupt(options.say?.(nameOf(request)) ?? Effect.succeed(taken), () =>
            Effect.sync(() => {
              gone++
            })
          )
        },
        run,
        onIntroduced: () => theirs.tellShards(ownedOf(options.shards)),
        onShards: () => {}
      })
      const ours: PeerConversation = new PeerConversation({
        connection: near,
        introduction: { node: "near", address: "near:1", form: formFingerprint, credit: 100 },
        unsentBytesMax,
        looksOf: () => looksOfTests,
        answer: () => Effect.succeed(elsewhere),
        run,
        onIntroduced: () => {},
        onShards: (shards) => routes.claim(ours, shards)
      })
      const over = (conversation: PeerConversation) =>
        Effect.sync(() => {
          routes.forget(conversation)
          conversation.end()
        })
      const reading = yield* Effect.forkScoped(
        near.receive((frame) => ours.receive(frame)).pipe(Effect.ensuring(over(ours)), Effect.exit)
      )
      const listening = yield* Effect.forkScoped(
        peer.receive((frame) => theirs.receive(frame)).pipe(Effect.ensuring(over(theirs)), Effect.exit)
      )
      yield* Effect.repeat(Effect.yieldNow, {
        until: () => ours.peer !== undefined && theirs.peer !== undefined
      })
      yield* settle
      pair.toFar.writes.length = 0
      return {
        ...pair,
        asked,
        gone: () => gone,
        openRequests: () => ours.openRequests,
        reading,
        /** Ends with the connection, at the side of the other node. */
        listening,
        near,
        look: () => ours.look(),
        tell: (shards: ReadonlyArray<number>) => theirs.tellShards(ownedOf(shards))
      }
    })
    return { send: routes.send, routes, owned, join }
  })

/** Lets everything happen that needs no time. */
const settle = Effect.repeat(Effect.yieldNow, { times: 50 })

const all = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.all(effects, { concurrency: "unbounded" })
const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

describe("requests", () => {
  it.effect("of one turn to shards of one node travel in one frame, in order", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const near = yield* join({ shards: [1, 2, 3] })
      const far = yield* join({ shards: [11] })
      yield* all([1, 2, 11, 3].map((shard) => send(shard, head(`s${shard}`))))
      assert.deepEqual([near.asked, far.asked], [["s1", "s2", "s3"], ["s11"]])
      assert.deepEqual([near.toFar.writes.length, far.toFar.writes.length], [1, 1])
    }).pipe(Effect.scoped)
  )

  it.effect("are cut into frames of a bounded size, of which none is lost", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const far = yield* join({ shards: [1], credit: 5_000 })
      const names = Array.from({ length: 3_000 }, (_, nth) => `${"a".repeat(50)}${nth}`)
      assert.lengthOf(yield* all(names.map((name) => send(1, head(name)))), names.length)
      assert.deepEqual(far.asked, names)
      assert.isAbove(far.toFar.writes.length, 1)
      for (const frame of far.toFar.writes) assert.isBelow(frame.length, 66_000)
    }).pipe(Effect.scoped)
  )

  it.effect("that need no answer are said without one, but to a node of another program", () =>
    Effect.gen(function* () {
      const { routes, join } = yield* asker()
      const near = yield* join({ shards: [1] })
      const other = yield* join({ shards: [2], form: "another" })
      assert.isTrue(routes.tell(1, giveBack))
      assert.isFalse(routes.tell(2, giveBack))
      assert.isFalse(routes.tell(3, giveBack))
      yield* settle
      assert.deepEqual([near.asked, other.asked], [["a"], []])
      assert.strictEqual(near.openRequests(), 0)
    }).pipe(Effect.scoped)
  )

  it.effect("that return a lease go to the node that granted it, though it gives up the shard", () =>
    Effect.gen(function* () {
      const { routes, send, join } = yield* asker()
      const borrow = (lease: string): PeerRequest => ({ _tag: "Borrow", account: "a" as AccountId, lease }) // as above
      const lender = yield* join({ shards: [1] })
      const other = yield* join({ shards: [2], form: "another" })
      const next = yield* join({ shards: [] })
      yield* all([send(1, borrow("l-1")), send(2, borrow("l-2")), send(1, borrow("l-3"))])
      lender.tell([])
      other.tell([])
      next.tell([1, 2])
      yield* settle
      assert.isTrue(routes.tell(1, giveBack))
      assert.isFalse(routes.tell(2, { ...giveBack, lease: "l-2" }))
      yield* send(2, { ...giveBack, lease: "l-2" })
      yield* settle
      assert.deepEqual([lender.asked, other.asked, next.asked], [["a", "a", "a"], ["a", "a"], []])
      // Once it is gone, the owner of the shard is told.
      yield* lender.cut
      yield* settle
      assert.isTrue(routes.tell(1, { ...giveBack, lease: "l-3" }))
      yield* settle
      assert.deepEqual(next.asked, ["a"])
    }).pipe(Effect.scoped)
  )

  it.effect("for a lease are told that nothing was done once another node owns the shard, or this one", () =>
    Effect.gen(function* () {
      const { routes, send, owned, join } = yield* asker()
      const borrow: PeerRequest = { _tag: "Borrow", account: "a" as AccountId, lease: "l-1" } // as above
      const frozen = yield* join({ shards: [1, 2], say: () => Effect.never })
      const next = yield* join({ shards: [] })
      const waiting = yield* start(send(1, borrow))
      const still = yield* start(send(1, head("a")))
      const other = yield* start(send(2, { ...borrow, lease: "l-2" }))
      yield* settle
      next.tell([1])
      yield* settle
      assert.deepInclude(yield* Fiber.join(waiting), { _tag: "Refused" })
      assert.strictEqual(frozen.gone(), 1)
      // The node that may have lent it has it back.
      assert.isTrue(routes.tell(1, giveBack))
      owned[2] = true
      routes.look()
      assert.deepInclude(yield* Fiber.join(other), { _tag: "Refused" })
      yield* Fiber.interrupt(still)
    }).pipe(Effect.scoped)
  )

  it.effect("that ask for an answer end the connection where they are said without one", () =>
    Effect.gen(function* () {
      const { join } = yield* asker()
      for (const request of [dispatch("c-1"), head("a")]) {
        const far = yield* join({ shards: [1], credit: 1 })
        const notice = 7
        far.near.send((writer) => {
          writer.byte(notice)
          compactForm.request.write(writer, request)
        })
        yield* Effect.repeat(settle, { until: () => far.listening.pollUnsafe() !== undefined, times: 100 })
        assert.isDefined(far.listening.pollUnsafe())
        assert.deepEqual(far.asked, [])
      }
    }).pipe(Effect.scoped)
  )

  it.effect("get each its own response when it is there: none waits for another's", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<PeerResponse>()
      const { send, join } = yield* asker()
      yield* join({
        shards: [1],
        say: (name) => (name === "slow" ? Deferred.await(gate) : Effect.succeed(taken))
      })
      const slow = yield* start(send(1, head("slow")))
      assert.deepEqual(yield* all([send(1, head("b")), send(1, head("c"))]), [taken, taken])
      assert.isUndefined(slow.pollUnsafe())
      yield* Deferred.succeed(gate, elsewhere)
      assert.deepEqual(yield* Fiber.join(slow), elsewhere)
    }).pipe(Effect.scoped)
  )

  it.effect("go to the node that said last that the shard is its own", () =>
    Effect.gen(function* () {
      const { send, routes, join } = yield* asker()
      const first = yield* join({ shards: [1, 2] })
      const second = yield* join({ shards: [] })
      first.tell([1])
      second.tell([2])
      yield* settle
      yield* all([send(1, head("a")), send(2, head("b"))])
      assert.deepEqual([first.asked, second.asked], [["a"], ["b"]])
      assert.deepEqual(
        [1, 2, 3].map((shard) => routes.nodeOf(shard)),
        ["far", "far", undefined]
      )
      // What was sent to it may still be waited for.
      yield* first.cut
      yield* settle
      assert.strictEqual(routes.nodeOf(1), "far")
    }).pipe(Effect.scoped)
  )

  it.effect("to a shard that is moving wait for its next owner", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const waiting = yield* start(send(7, head("a")))
      const far = yield* join({ shards: [7] })
      assert.deepEqual(yield* Fiber.join(waiting), taken)
      assert.deepEqual(far.asked, ["a"])
    }).pipe(Effect.scoped)
  )

  it.effect(
    "to a shard that no node owns for long, or that came to this node, are told that nothing was done",
    () =>
      Effect.gen(function* () {
        const { send, routes, owned } = yield* asker()
        const waiting = yield* start(send(7, dispatch("c-1", "c-2")))
        for (let look = 0; look < 3; look++) routes.look()
        assert.deepEqual(yield* Fiber.join(waiting), {
          _tag: "Answers",
          answers: [{ _tag: "Moved" }, { _tag: "Moved" }]
        })
        const another = yield* start(send(8, head("a")))
        owned[8] = true
        routes.look()
        for (const answer of [yield* Fiber.join(another), yield* send(8, head("a"))])
          assert.deepInclude(answer, { _tag: "Refused" })
        assert.strictEqual(routes.waiting, 0)
      }).pipe(Effect.scoped)
  )

  it.effect("that wait for an owner are bounded in number, and leave with their callers", () =>
    Effect.gen(function* () {
      const { send, routes } = yield* asker({ waitingMax: 2 })
      const first = yield* start(send(7, head("a")))
      yield* start(send(8, head("b")))
      assert.isTrue((yield* Effect.flip(send(9, head("c")))).isFull)
      yield* Fiber.interrupt(first)
      assert.strictEqual(routes.waiting, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("on a connection that ends have unknown outcomes, the others keep their responses", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const far = yield* join({
        shards: [1],
        say: (name) => (name === "bad" ? Effect.never : Effect.succeed(taken))
      })
      const bad = yield* start(Effect.flip(send(1, head("bad"))))
      assert.deepEqual(yield* send(1, head("good")), taken)
      yield* far.cut
      assert.deepInclude(yield* Fiber.join(bad), { _tag: "Unanswered", reason: "lost" })
      // The shard has no known owner now.
      yield* start(send(1, head("next")))
      yield* settle
      assert.deepEqual(far.asked, ["bad", "good"])
    }).pipe(Effect.scoped)
  )

  it.effect("that met a defect have an unknown outcome", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      yield* join({ shards: [1], say: () => Effect.die("a fault of the test") })
      assert.deepInclude(yield* Effect.flip(send(1, head("a"))), { reason: "lost" })
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )

  it.effect("whose callers have gone end at the other node, and give their credit back", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const far = yield* join({
        shards: [1],
        credit: 1,
        say: (name) => (name === "a" ? Effect.never : Effect.succeed(taken))
      })
      const asking = yield* start(send(1, head("a")))
      yield* settle
      yield* Fiber.interrupt(asking)
      yield* settle
      assert.deepEqual([far.gone(), far.openRequests()], [1, 0])
      assert.deepEqual(yield* send(1, head("b")), taken)
    }).pipe(Effect.scoped)
  )

  it.effect("that wait for too long have unknown outcomes, and end at the other node", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const far = yield* join({ shards: [1], say: () => Effect.never })
      const asking = yield* start(Effect.flip(send(1, head("a"))))
      for (let look = 1; look < looksOfTests; look++) far.look()
      assert.isUndefined(asking.pollUnsafe())
      far.look()
      assert.deepInclude(yield* Fiber.join(asking), { reason: "lost" })
      yield* settle
      assert.deepEqual([far.gone(), far.openRequests()], [1, 0])
    }).pipe(Effect.scoped)
  )

  it.effect("pass in JSON between programs with different schemas", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const far = yield* join({ shards: [1], form: "another program" })
      assert.deepEqual(yield* send(1, dispatch("c-1")), taken)
      assert.deepEqual(far.asked, ["c-1"])
      const [frame] = far.toFar.writes
      assert.include(Buffer.from(frame ?? []).toString(), '"_tag":"Dispatch"')
    }).pipe(Effect.scoped)
  )
})

describe("a node that does not answer", () => {
  it.effect("takes as many commands as it gave credit for; then its peers refuse at once", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<PeerResponse>()
      const { send, join } = yield* asker()
      const far = yield* join({ shards: [1], credit: 3, say: () => Deferred.await(gate) })
      const well = yield* join({ shards: [2] })
      const sent = yield* start(all([send(1, dispatch("c-1", "c-2")), send(1, head("a"))]))
      const refusals = yield* all(["x", "y"].map((id) => Effect.flip(send(1, dispatch(id)))))
      for (const { isFull } of refusals) assert.isTrue(isFull)
      assert.deepEqual(yield* send(2, head("b")), taken, "other nodes are asked as before")
      assert.deepEqual(well.asked, ["b"])
      yield* settle
      assert.deepEqual(far.asked, ["c-1,c-2", "a"])
      yield* Deferred.succeed(gate, taken)
      yield* Fiber.join(sent)
      assert.deepEqual(yield* send(1, dispatch("z")), taken)
    }).pipe(Effect.scoped)
  )

  it.effect("is given accounts back nevertheless", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const far = yield* join({
        shards: [1],
        credit: 1,
        say: (name) => (name === "c-1" ? Effect.never : Effect.succeed(taken))
      })
      yield* start(send(1, dispatch("c-1")))
      assert.deepEqual(yield* send(1, giveBack), taken)
      assert.deepEqual(far.asked, ["c-1", "a"])
    }).pipe(Effect.scoped)
  )

  it.effect("takes requests without any command only within its credit", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const far = yield* join({ shards: [1], credit: 2, say: () => Effect.never })
      yield* start(all([send(1, dispatch()), send(1, dispatch())]))
      assert.isTrue((yield* Effect.flip(send(1, dispatch()))).isFull)
      yield* settle
      assert.lengthOf(far.asked, 2)
    }).pipe(Effect.scoped)
  )

  it.effect("takes a batch that is larger than its credit, alone", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      yield* join({ shards: [1], credit: 2 })
      assert.deepEqual(yield* send(1, dispatch("a", "b", "c")), taken)
    }).pipe(Effect.scoped)
  )
})

describe("a node that does not read", () => {
  it.effect("costs its peers no more memory than the limit, and then only refusals", () =>
    Effect.gen(function* () {
      const { send, join } = yield* asker({ unsentBytesMax: 100_000 })
      const far = yield* join({ shards: [1], credit: 1_000_000 })
      far.toFar.standStill()
      const ids = Array.from({ length: 20 }, (_, nth) => `${"c".repeat(60)}${nth}`)
      let refused = 0
      for (let nth = 0; nth < 200; nth++) {
        const asking = yield* start(Effect.exit(send(1, dispatch(...ids))))
        yield* Effect.yieldNow
        const exit = asking.pollUnsafe()
        if (exit === undefined) continue
        refused++
        assert.isTrue(Exit.isSuccess(exit) && Exit.isFailure(exit.value))
      }
      assert.isAbove(refused, 100)
      assert.isBelow(far.near.unsentBytes(), 200_000)
      far.toFar.read()
      yield* Effect.repeat(settle, { until: () => far.openRequests() === 0, times: 100 })
      assert.strictEqual(far.near.unsentBytes(), 0)
      assert.deepEqual(yield* send(1, head("again")), taken)
    }).pipe(Effect.scoped)
  )
})

/** One message as a frame of its own. */
const frameOf = (write: (writer: ByteWriter) => void): Buffer => {
  const writer = new ByteWriter()
  const at = writer.placeUint32()
  write(writer)
  writer.setUint32(at, writer.length - 4)
  return Buffer.from(writer.take())
}

const requestFrame = (id: number, request: PeerRequest): Buffer =>
  frameOf((writer) => {
    writer.byte(3)
    writer.uint(id)
    compactForm.request.write(writer, request)
  })

describe("a node that asks and does not take its answers", () => {
  it.effect("is refused what it asks beyond the limit, and loses the connection at twice the limit", () =>
    Effect.gen(function* () {
      const unsentBytesMax = 500
      const { join } = yield* asker({ unsentBytesMax })
      const { far, toFar, near, reading } = yield* join({ shards: [1] })
      toFar.standStill()
      let most = 0
      let id = 0
      while (reading.pollUnsafe() === undefined && id < 20_000) {
        yield* far.write(requestFrame(++id, head("a")))
        yield* settle
        most = Math.max(most, near.unsentBytes())
      }
      assert.isBelow(id, 20_000)
      assert.isBelow(most, 3 * unsentBytesMax)
    }).pipe(Effect.scoped)
  )
})

describe("a node that takes large answers slowly", () => {
  it.effect("keeps its connection, and is to ask again for those that there is no room for", () =>
    Effect.gen(function* () {
      const large: PeerResponse = {
        _tag: "Answers",
        answers: Array.from({ length: 1_500 }, () => ({ _tag: "Moved" }) as const)
      }
      const gate = yield* Deferred.make<PeerResponse>()
      const { send, join } = yield* asker({ unsentBytesMax: 1_000 })
      const { listening, reading, toNear } = yield* join({ shards: [1], say: () => Deferred.await(gate) })
      const asking = yield* Effect.forEach(["a", "b", "c", "d"], (name) =>
        start(Effect.result(send(1, head(name))))
      )
      yield* settle
      toNear.standStill()
      yield* Deferred.succeed(gate, large)
      yield* settle
      toNear.read()
      const answers = yield* Effect.forEach(asking, Fiber.join)
      const given = answers.filter(Result.isSuccess)
      assert.isAbove(given.length, 1)
      assert.isBelow(given.length, answers.length)
      for (const { success } of given) assert.deepEqual(success, large)
      for (const { failure } of answers.filter(Result.isFailure)) assert.strictEqual(failure.reason, "lost")
      for (const end of [listening, reading]) assert.isUndefined(end.pollUnsafe())
      assert.deepEqual(yield* send(1, head("again")), large)
    }).pipe(Effect.scoped)
  )
})

describe("a connection", () => {
  const withoutLength = (frame: Buffer) => frame.subarray(4)
  const again = withoutLength(
    frameOf((writer) => {
      writer.byte(1)
      writer.text(JSON.stringify({ node: "far", address: "another:1", form: formFingerprint, credit: 100 }))
    })
  )
  const requestMessage = withoutLength(requestFrame(7, head("a")))
  const sized = (bytes: number) => withoutLength(frameOf((writer) => writer.blob(Buffer.alloc(bytes))))
  const wrong: ReadonlyArray<readonly [what: string, message: ReadonlyArray<number>]> = [
    ["an unknown kind of message", [99]],
    ["a request that ends too early", [3, 1, 0, 200]],
    ["an introduction that is none", [1, 4, 0x7b, 0x7d]],
    ["a second introduction", [...again]],
    ["a request with the id of another", [...requestMessage, ...requestMessage]],
    ["a list of more shards than there can be", [2, ...sized(8_193)]]
  ]
  it.effect.each(wrong)("ends at %s, and its requests have unknown outcomes", ([, message]) =>
    Effect.gen(function* () {
      const { send, join } = yield* asker()
      const far = yield* join({ shards: [1], say: () => Effect.never })
      const asking = yield* start(Effect.flip(send(1, head("a"))))
      yield* settle
      const frame = Buffer.alloc(4 + message.length)
      frame.writeUInt32BE(message.length)
      frame.set(message, 4)
      yield* far.far.write(frame)
      assert.deepInclude(yield* Fiber.join(asking), { reason: "lost" })
      assert.isTrue(Exit.isFailure(yield* Fiber.join(far.reading)))
    }).pipe(Effect.scoped)
  )

  it.effect(
    "on which nothing is heard for long ends; one on which the other node says that it lives does not",
    () =>
      Effect.gen(function* () {
        const pair = yield* streamPair
        const near = yield* makePeerConnection(pair.near)
        const far = yield* makePeerConnection(pair.far)
        const reading = yield* start(Effect.exit(near.receive(() => {})))
        const other = yield* start(Effect.exit(far.receive(() => {})))
        yield* TestClock.adjust("1 minute")
        assert.isUndefined(reading.pollUnsafe())
        yield* Fiber.interrupt(other)
        yield* TestClock.adjust("10 seconds")
        assert.isDefined(reading.pollUnsafe())
      }).pipe(Effect.scoped)
  )
})

const [own, member] = [RunnerAddress.make("127.0.0.1", 1), RunnerAddress.make("127.0.0.1", 2)]

/** A node that owns nothing. */
const peersOver = (port: PeerPort["Service"], addresses: ReadonlyArray<RunnerAddress.RunnerAddress>) =>
  Layer.build(Peers.layer("near")).pipe(
    Effect.provideService(PeerPort, port),
    Effect.provideService(ClusterMembers, { addresses }),
    Effect.provideService(ClusterShards, {
      entities: [],
      owned: ownedOf([]),
      set: () => {},
      told: () => ({ change: 0, rule: { shards: shardsMax, affinitySegments: 64 }, owned: [] })
    }),
    Effect.map((context) => Context.get(context, Peers))
  )

it.effect("requests of a node that wait are given up behind one whose caller met a bug", () =>
  Effect.gen(function* () {
    const port = PeerPort.of({ own, dial: () => Effect.never, onAccept: () => Effect.void })
    const peers = yield* peersOver(port, [])
    let isTold = false
    peers.ask(7, head("a"), () => {
      isTold = true
      throw new Error("a bug of the test")
    })
    yield* TestClock.adjust("1 second")
    assert.isTrue(isTold)
    const asking = yield* start(peers.send(8, head("b")))
    yield* TestClock.adjust("1 second")
    assert.isDefined(asking.pollUnsafe())
  }).pipe(Effect.scoped, Effect.provide(quiet))
)

describe("a member that cannot be connected to", () => {
  /** What a node logs of a member that refuses its connections for a while, and how often it tried. */
  const refusedFor = Effect.fnUntraced(function* (
    reason: RefusalReason,
    ...times: ReadonlyArray<Duration.Input>
  ) {
    const lines: Array<string> = []
    let dials = 0
    const port = PeerPort.of({
      own,
      dial: () =>
        Effect.suspend(() => {
          dials++
          return Effect.fail(new HandshakeRefused({ reason, detail: "it said why" }))
        }),
      onAccept: () => Effect.void
    })
    yield* peersOver(port, [member]).pipe(
      Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))]))
    )
    const counts: Array<number> = []
    for (const time of times) {
      yield* TestClock.adjust(time)
      counts.push(lines.length)
    }
    return { counts, dials, lines }
  }, Effect.scoped)

  it.effect("is dialled again and again, and logged once a minute with the reason", () =>
    Effect.gen(function* () {
      const { counts, dials, lines } = yield* refusedFor(
        "wrong secret",
        0,
        "59 seconds",
        "2 seconds",
        "58 seconds"
      )
      assert.deepEqual(counts, [1, 1, 2, 2])
      for (const line of lines)
        assert.strictEqual(line, "cannot speak with the node at 127.0.0.1:2: it said why")
      assert.isAtLeast(dials, 115)
    })
  )

  it.effect("is not logged where it only ended the connection, as one does that is killed", () =>
    Effect.map(refusedFor("closed", "2 minutes"), ({ counts }) => assert.deepEqual(counts, [0]))
  )
})

describe("frames", () => {
  const framed = (...messages: ReadonlyArray<string>): Buffer =>
    Buffer.concat(
      messages.map((text) => {
        const writer = new ByteWriter()
        const at = writer.placeUint32()
        writer.text(text)
        writer.setUint32(at, writer.length - 4)
        return Buffer.from(writer.take())
      })
    )
  const readAll = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<string> => {
    const texts: Array<string> = []
    const reader = new FrameReader((frame: ByteReader) => texts.push(frame.text()))
    for (const chunk of chunks) reader.push(chunk)
    return texts
  }

  it("are read whole however they were cut on the way", () => {
    const texts = ["a", "", "b".repeat(300), "c"]
    const bytes = framed(...texts)
    for (let size = 1; size <= bytes.length; size++) {
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, nth) =>
        bytes.subarray(nth * size, (nth + 1) * size)
      )
      assert.deepEqual(readAll(chunks), texts)
    }
  })

  it.effect(
    "leave at the end of their turn, and a millisecond later and together once eight left within ten",
    () =>
      Effect.gen(function* () {
        const { near: stream, toFar } = yield* streamPair
        const near = yield* makePeerConnection(stream)
        const told: Array<string> = []
        const reader = new FrameReader((frame) => {
          while (!frame.isAtEnd) told.push(frame.text())
        })
        /** What has left since the last look. */
        const left = Effect.map(settle, () => {
          const frames = toFar.writes.splice(0)
          for (const frame of frames) reader.push(frame)
          return { frames: frames.length, messages: told.splice(0).length }
        })
        /** Each message in a turn of its own. */
        const say = (messages: number) =>
          Effect.sync(() => near.send((writer) => writer.text("m"))).pipe(
            Effect.andThen(settle),
            Effect.repeat({ times: messages - 1 }),
            Effect.andThen(left)
          )
        assert.deepEqual(yield* say(8), { frames: 8, messages: 8 })
        assert.deepEqual(yield* say(3), { frames: 0, messages: 0 })
        yield* TestClock.adjust(1)
        assert.deepEqual(yield* left, { frames: 1, messages: 3 })
        yield* TestClock.adjust(8)
        assert.deepEqual(yield* say(1), { frames: 0, messages: 0 })
        yield* TestClock.adjust(1)
        assert.deepEqual(yield* left, { frames: 1, messages: 1 })
        assert.deepEqual(yield* say(8), { frames: 8, messages: 8 })
      }).pipe(Effect.scoped)
  )

  it("of a gigabyte are refused when they are announced", () => {
    const header = Buffer.alloc(4)
    header.writeUInt32BE(2 ** 30)
    assert.throws(() => readAll([header]), /a frame of 1073741824 bytes/)
  })
})
