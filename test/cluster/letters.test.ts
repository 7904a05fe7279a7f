/** Letters to other nodes enter, with a carrier that does as it is told; how they travel, and what each gets, is tested. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Queue, Stream } from "effect"
import {
  makeSendToPeer,
  type PeerReply,
  type PeerRequest,
  type PeerResponse,
  type PeerTransport
} from "../../src/actors/cluster/PeerMessages.ts"
import type { AccountId } from "../../src/domain/Ids.ts"

const head = (name: string): PeerRequest => ({ _tag: "Head", account: name as AccountId }) // ids of tests are valid
const nameOf = (letter: PeerRequest) => (letter._tag === "Head" ? String(letter.account) : letter._tag)
const taken: PeerResponse = { _tag: "Taken" }
const moved: PeerResponse = { _tag: "Answers", answers: [{ _tag: "Moved" }] }

/** Remembers the messages; `say` answers a letter, at once by default. */
const world = (say: (name: string) => Effect.Effect<PeerResponse> = () => Effect.succeed(taken)) =>
  Effect.gen(function* () {
    const messages: Array<ReadonlyArray<string>> = []
    const replyTo = (shard: number, letter: PeerRequest, nth: number): Effect.Effect<PeerReply> =>
      // Shards 1 to 9 are of one node, 11 to 19 of another.
      Effect.map(say(nameOf(letter)), (said) => ({ nth, said, node: shard < 10 ? "near" : "far" }))
    const carrier: PeerTransport = {
      one: (shard, letter) => {
        messages.push([nameOf(letter)])
        return replyTo(shard, letter, 0)
      },
      many: (shard, letters) => {
        messages.push(letters.map(nameOf))
        return Stream.callback<PeerReply>((replies) =>
          Effect.forEach(
            letters,
            (letter, nth) =>
              Effect.map(replyTo(shard, letter, nth), (reply) => Queue.offerUnsafe(replies, reply)),
            { concurrency: "unbounded", discard: true }
          ).pipe(Effect.andThen(Queue.end(replies)))
        )
      }
    }
    return { post: yield* makeSendToPeer(carrier), messages }
  })

const all = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.all(effects, { concurrency: "unbounded" })

describe("letters of one turn", () => {
  it.effect(
    "to shards of one node travel in one message, in order, once it is known that they are of one",
    () =>
      Effect.gen(function* () {
        const { post, messages } = yield* world()
        const letters = [1, 2, 11, 3].map((shard) => post(shard, head(`s${shard}`)))
        yield* all(letters)
        assert.deepEqual(messages, [["s1"], ["s2"], ["s11"], ["s3"]])
        messages.length = 0
        yield* all(letters)
        assert.deepEqual(messages, [["s1", "s2", "s3"], ["s11"]])
      }).pipe(Effect.scoped)
  )

  it.effect("are cut into messages of a bounded size, of which none is lost", () =>
    Effect.gen(function* () {
      const { post, messages } = yield* world()
      const names = Array.from({ length: 1_201 }, (_, nth) => `a${nth}`)
      const answers = yield* all(names.map((name) => post(1, head(name))))
      assert.lengthOf(answers, names.length)
      assert.deepEqual(messages.flat(), names)
      assert.deepEqual(
        messages.map(({ length }) => length),
        [500, 500, 201]
      )
    }).pipe(Effect.scoped)
  )

  it.effect("get each its own answer when it is there: none waits for another's", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<PeerResponse>()
      const { post } = yield* world((name) =>
        name === "slow" ? Deferred.await(gate) : Effect.succeed(taken)
      )
      const slow = yield* Effect.forkChild(post(1, head("slow")), { startImmediately: true })
      assert.deepEqual(yield* all([post(1, head("b")), post(1, head("c"))]), [taken, taken])
      assert.isUndefined(slow.pollUnsafe())
      yield* Deferred.succeed(gate, moved)
      assert.deepEqual(yield* Fiber.join(slow), moved)
    }).pipe(Effect.scoped)
  )

  it.effect("go to the shard itself again after a node said that it has it no more", () =>
    Effect.gen(function* () {
      let isGone = false
      const { post, messages } = yield* world((name) =>
        Effect.succeed(isGone && name === "s2" ? moved : taken)
      )
      const letters = [1, 2].map((shard) => post(shard, head(`s${shard}`)))
      yield* all(letters)
      isGone = true
      yield* all(letters)
      yield* all(letters)
      assert.deepEqual(messages, [["s1"], ["s2"], ["s1", "s2"], ["s1"], ["s2"]])
    }).pipe(Effect.scoped)
  )

  it.effect("that have no answer when their message ends are told so, the others keep theirs", () =>
    Effect.gen(function* () {
      const { post } = yield* world((name) =>
        name === "bad" ? Effect.andThen(Effect.yieldNow, Effect.die("the node fell")) : Effect.succeed(taken)
      )
      const [good, bad] = yield* all([Effect.exit(post(1, head("good"))), Effect.exit(post(1, head("bad")))])
      assert.isTrue(Exit.isSuccess(good ?? Exit.die("no answer")))
      assert.deepInclude(yield* Effect.flip(bad ?? Exit.die("no answer")), {
        _tag: "Unanswered",
        isFull: false
      })
    }).pipe(Effect.scoped)
  )

  it.effect("that nobody waits for any more end their message, even where its node never says a word", () =>
    Effect.gen(function* () {
      let ended = 0
      const never = Effect.ensuring(
        Effect.never,
        Effect.sync(() => ended++)
      )
      const { post } = yield* world(() => never)
      const asked = yield* Effect.forEach(["a", "b"], (name) =>
        Effect.forkChild(post(1, head(name)), { startImmediately: true })
      )
      const [first, second] = asked
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      if (first === undefined || second === undefined) return assert.fail("two were asked")
      yield* Fiber.interrupt(first)
      assert.strictEqual(ended, 0, "the other still waits")
      yield* Fiber.interrupt(second)
      yield* Effect.repeat(Effect.yieldNow, { until: () => ended === 2 })
    }).pipe(Effect.scoped)
  )
})
