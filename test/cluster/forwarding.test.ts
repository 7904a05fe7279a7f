/** Commands that are sent to another node, whose answers do not come, or come for some of them alone. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import type { Answer, Placing } from "../../src/actors/accounts/Placement.ts"
import { compactForm } from "../../src/actors/cluster/PeerCodec.ts"
import type { Command, CommandInput } from "../../src/domain/Command.ts"
import { Overloaded } from "../../src/domain/Errors.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { printToken } from "../../src/domain/Receipt.ts"
import { allShards } from "../../src/domain/Shard.ts"
import { ByteWriter } from "../../src/infra/cluster/CompactCodec.ts"
import { defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { defaultLimits, type LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import {
  deposit,
  fund,
  memoryStores,
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

type Answers = (command: Command) => Answer

const done: Answers = ({ commandId }) => ({
  _tag: "Done",
  receipt: { commandId, replayed: false, recordedAt: 0, postings: [], readToken: printToken([]) }
})
const unknown: Answers = () => ({ _tag: "Unknown" })
const moved: Answers = () => ({ _tag: "Moved" })
const full: Answers = () => ({
  _tag: "Failed",
  error: new Overloaded({ what: "another node", retryAfterMs: 1 })
})

/** A place that owns nothing, each of whose shards is another node's. */
const elsewhere = (dispatch: Placing["dispatch"]): Placing => ({
  isAlone: false,
  owns: () => false,
  // The last digits of an id.
  shardOf: (account) => Number(/\d*$/.exec(account)?.[0]),
  nodeOf: (shard) => `node-${shard}`,
  ownedShards: () => allShards,
  others: () => [],
  dispatch,
  head: () => Effect.never,
  requestLease: () => undefined,
  release: () => undefined
})

/**
 * A node that owns nothing, over one that answers each message as it is told; one that is not told of is done. Answers the outcomes, how
 * many messages there were, and how many commands were away at once.
 */
const outcomesOf = Effect.fnUntraced(function* (
  batch: ReadonlyArray<CommandInput>,
  messages: ReadonlyArray<ReadonlyArray<Answers>>,
  limits: Partial<LedgerLimits> = {}
) {
  let asked = 0
  let away = 0
  let mostAway = 0
  const lengths: Array<number> = []
  const placement = elsewhere((_, commands) =>
    Effect.gen(function* () {
      const answers = messages[asked++]
      lengths.push(commands.length)
      away += commands.length
      mostAway = Math.max(mostAway, away)
      yield* Effect.sleep(1)
      away -= commands.length
      return commands.map((command, nth) => (answers?.[nth] ?? done)(command))
    })
  )
  const node = yield* startNode("sender", { placement, limits })
  const sent = yield* node.sendBatch(batch)
  yield* TestClock.adjust(1_000)
  return { outcomes: yield* Fiber.join(sent), asked, lengths, mostAway }
})

const scenario = Effect.provide([memoryStores, quiet])

/** More than what is sent to another node waits for an answer. */
const patienceMs = defaultLimits.commandDeadlineMs + defaultClusterLimits.answerGraceMs + 100

it.effect("a command whose answer was lost is not sent behind one of its batch that has taken effect", () =>
  Effect.gen(function* () {
    const found = yield* outcomesOf(
      [deposit("a", 1n), deposit("b", 1n), withdraw("a", 1n)],
      [
        [unknown, unknown, unknown],
        [full, full, done]
      ]
    )
    // The second has no account in common with the last, and may still be done.
    assert.deepInclude(found, { outcomes: ["Indeterminate", "Accepted", "Accepted"], asked: 3 })
  }).pipe(scenario)
)

it.effect("nor is a command that an owner gave back", () =>
  Effect.gen(function* () {
    const batch = [deposit("a", 1n), withdraw("a", 1n), deposit("b", 1n)]
    const found = yield* outcomesOf(batch, [[moved, done, moved]])
    assert.deepInclude(found, { outcomes: ["Unavailable", "Accepted", "Accepted"], asked: 2 })
  }).pipe(scenario)
)

it.effect("a capture whose hold alone says where it goes is sent behind none of its batch", () =>
  Effect.gen(function* () {
    const capture: CommandInput = { _tag: "CaptureHold", account: "a", hold: "h" }
    const first = yield* outcomesOf([capture, withdraw("b", 1n)], [[moved, done]])
    assert.deepInclude(first, { outcomes: ["Unavailable", "Accepted"], asked: 1 })
    const second = yield* outcomesOf([withdraw("b", 1n), capture], [[moved, done]])
    assert.deepInclude(second, { outcomes: ["Unavailable", "Accepted"], asked: 1 })
  }).pipe(scenario)
)

it.effect("a command is sent again before others of its batch for which there was no room", () =>
  Effect.gen(function* () {
    const found = yield* outcomesOf([deposit("a", 1n), withdraw("a", 1n)], [[moved, full]])
    assert.deepInclude(found, { outcomes: ["Accepted", "Overloaded"], asked: 2 })
  }).pipe(scenario)
)

it.effect("all of a batch are sent again in their order where none was answered", () =>
  Effect.gen(function* () {
    const found = yield* outcomesOf(
      [deposit("a", 1n), withdraw("a", 1n)],
      [
        [unknown, unknown],
        [moved, moved]
      ]
    )
    assert.deepInclude(found, { outcomes: ["Accepted", "Accepted"], asked: 3 })
  }).pipe(scenario)
)

/** The longest that there is: 5,120 characters, 13 KB. */
const metadata = Object.fromEntries(
  Array.from({ length: 16 }, (_, nth) => [`${"k".repeat(62)}${nth + 10}`, "\u6c34".repeat(256)])
)

it.effect("no message is longer than a frame, however long the groups of a batch are", () =>
  Effect.gen(function* () {
    const member = { _tag: "Withdraw", account: "a", amount: 1n, metadata } as const
    const group: CommandInput = { _tag: "Group", commands: new Array(100).fill(member) }
    const writer = new ByteWriter()
    compactForm.request.write(writer, { _tag: "Dispatch", commands: [toCommand(group) as Command] })
    const batch = Array.from({ length: 60 }, () => group)
    const { outcomes, lengths } = yield* outcomesOf(batch, [])
    assert.deepStrictEqual(tally(outcomes), { Accepted: 60 })
    assert.isAbove(60 * writer.length, 64 * 1_024 * 1_024)
    for (const length of lengths) assert.isBelow(length * writer.length, 32 * 1_024 * 1_024)
  }).pipe(scenario)
)

const legs = [
  ...Array.from({ length: 99 }, (_, leg) => ({ account: `l${leg}-1`, side: "debit" as const, amount: 1n })),
  { account: "a1", side: "credit" as const, amount: 99n }
]

it.effect.each([
  { what: "journals of 100 legs", events: 100, command: { _tag: "PostJournal", legs } },
  { what: "transfers with long texts", events: 2, command: { ...transfer("a1", "b1", 1n), metadata } },
  {
    what: "groups of journals",
    events: 500,
    command: { _tag: "Group", commands: Array.from({ length: 5 }, () => ({ _tag: "PostJournal", legs })) }
  }
] as const)(
  "of $what no more travel in one message than the owner writes in a few statements",
  ({ events, command }) =>
    Effect.gen(function* () {
      const batch = Array.from({ length: 600 }, () => command as CommandInput)
      const { outcomes, lengths } = yield* outcomesOf(batch, [])
      assert.deepStrictEqual(tally(outcomes), { Accepted: 600 })
      const characters = 400 + ("metadata" in command ? 5_120 : 0)
      for (const length of lengths) {
        assert.isAtMost(length * events, 2_000)
        assert.isAtMost(length * events * characters, 2_100_000)
      }
      // As many as fit: each is waited for before the next one is sent.
      assert.isBelow(lengths.length, (600 * events * characters) / 1_000_000 + (600 * events) / 1_000)
    }).pipe(scenario)
)

it.effect.each([
  { what: "one shard", shards: 1, atOnce: 1_000 },
  { what: "six shards", shards: 6, atOnce: 2_000 },
  { what: "six hundred shards", shards: 600, atOnce: 2_000 }
])(
  "a batch that is longer than a node has room for is carried to the owner of $what, and no more of it at once than a node takes",
  ({ shards, atOnce }) =>
    Effect.gen(function* () {
      const batch = Array.from({ length: 6_000 }, (_, nth) => deposit(`a${nth % shards}`, 1n))
      const { outcomes, mostAway } = yield* outcomesOf(batch, [], { inFlightMax: 2_500 })
      assert.deepStrictEqual(tally(outcomes), { Accepted: 6_000 })
      assert.strictEqual(mostAway, atOnce)
    }).pipe(scenario)
)

/** Nodes of these shards stand still: what is sent there has no answer within the time that one is waited for. */
const silentAt = (shards: ReadonlyArray<number>) =>
  elsewhere((account, commands) =>
    shards.some((shard) => account.endsWith(`${shard}`))
      ? Effect.delay(Effect.succeed(commands.map(unknown)), defaultClusterLimits.askMs)
      : Effect.succeed(commands.map(done))
  )

it.effect("a node that stands still fills its own share of what may be away, and no other node's", () =>
  Effect.gen(function* () {
    const node = yield* startNode("sender", { placement: silentAt([1, 2]), limits: { inFlightMax: 10 } })
    const send = (account: string) =>
      Effect.forkChild(Effect.result(node.send(deposit(account, 1n))), { startImmediately: true })
    const fill = (account: string) => Effect.forEach(Array.from({ length: 10 }), () => send(account))
    const away = [...(yield* fill("a1"))]
    assert.deepInclude(yield* Effect.flip(node.send(deposit("a1", 1n))), {
      _tag: "Overloaded",
      what: "the node of the account"
    })
    assert.strictEqual((yield* node.send(deposit("a3", 1n))).replayed, false)
    // As much as two nodes may have: that is the bound of the whole.
    away.push(...(yield* fill("a2")))
    assert.deepInclude(yield* Effect.flip(node.send(deposit("a3", 1n))), {
      _tag: "Overloaded",
      what: "this node"
    })
    yield* TestClock.adjust(patienceMs)
    const answers = yield* Effect.forEach(away, Fiber.join)
    assert.deepStrictEqual(tally(answers.map(outcomeOf)), { Indeterminate: 20 })
    assert.strictEqual(node.dispatcher.stats().inFlight, 0)
    assert.strictEqual((yield* node.send(deposit("a3", 1n))).replayed, false)
  }).pipe(scenario)
)

it.effect("a batch finds room at a node that takes fewer commands than one message carries", () =>
  Effect.gen(function* () {
    const batch = Array.from({ length: 1_200 }, () => deposit("a", 1n))
    const { outcomes, lengths } = yield* outcomesOf(batch, [], { inFlightMax: 500 })
    assert.deepStrictEqual(tally(outcomes), { Accepted: 1_200 })
    assert.deepStrictEqual(lengths, [500, 500, 200])
  }).pipe(scenario)
)

/** The outcomes of a batch over nodes of which some stand still, as they are once a command would have been given up. */
const answersIn = Effect.fnUntraced(function* (
  silent: ReadonlyArray<number>,
  batch: ReadonlyArray<CommandInput>
) {
  const node = yield* startNode("sender", { placement: silentAt(silent) })
  const sent = yield* node.sendBatch(batch)
  yield* TestClock.adjust(patienceMs)
  assert.isDefined(sent.pollUnsafe(), "it is answered when its commands alone would be")
  return yield* Fiber.join(sent)
})

it.effect(
  "a batch that goes back and forth to an owner that stands still is answered within one deadline",
  () =>
    Effect.gen(function* () {
      const there = transfer("a1", "b2", 1n)
      const back = transfer("b2", "a1", 1n)
      const outcomes = yield* answersIn(
        [1],
        [deposit("c3", 1n), there, back, there, deposit("c3", 1n), there]
      )
      assert.deepStrictEqual(outcomes, [
        "Accepted",
        "Indeterminate",
        "Unavailable",
        "Unavailable",
        "Accepted",
        "Unavailable"
      ])
    }).pipe(scenario)
)

it.effect("a batch of several messages to an owner that stands still is answered within one deadline", () =>
  Effect.gen(function* () {
    const deposits = (account: string, count: number) =>
      Array.from({ length: count }, () => deposit(account, 1n))
    const outcomes = yield* answersIn([1], [...deposits("a1", 2_500), ...deposits("c3", 2_500)])
    assert.deepStrictEqual(tally(outcomes.slice(0, 2_500)), { Indeterminate: 1_000, Unavailable: 1_500 })
    // Another node has no account in common with what had no answer.
    assert.deepStrictEqual(tally(outcomes.slice(2_500)), { Accepted: 2_500 })
  }).pipe(scenario)
)

it.effect(
  "a batch over more accounts of a node that stands still than it has room for is answered, too",
  () =>
    Effect.gen(function* () {
      const placement = { ...silentAt([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), nodeOf: () => "silent" }
      const node = yield* startNode("sender", { placement })
      const batch = Array.from({ length: 6_000 }, (_, nth) => deposit(`a${nth % 600}`, 1n))
      const sent = yield* node.sendBatch(batch)
      yield* TestClock.adjust(patienceMs)
      assert.isDefined(sent.pollUnsafe())
      const answers = tally(yield* Fiber.join(sent))
      assert.deepStrictEqual(answers, { Indeterminate: 2_000, Unavailable: 4_000 })
    }).pipe(scenario)
)

it.effect(
  "a batch of several thousand that waits for accounts of such a node is answered within one deadline, too",
  () =>
    Effect.gen(function* () {
      const placement: Placing = {
        ...silentAt([]),
        owns: (account) => account.startsWith("near"),
        // The request for a lease is not answered.
        requestLease: () => () => {}
      }
      const node = yield* startNode("decides", { placement })
      const nths = Array.from({ length: 2_500 }, (_, nth) => nth)
      yield* fund(
        node,
        nths.map((nth) => `near${nth}`),
        1n
      )
      const batch = nths.map((nth) => transfer(`near${nth}`, `far${nth}`, 1n))
      const sent = yield* node.sendBatch(batch)
      for (let waitedMs = 0; waitedMs < patienceMs; waitedMs += 50) yield* TestClock.adjust(50)
      const isAnswered = sent.pollUnsafe() !== undefined
      yield* TestClock.adjust(10 * patienceMs)
      assert.isTrue(isAnswered)
      assert.deepStrictEqual(tally(yield* Fiber.join(sent)), { Unavailable: 2_500 })
    }).pipe(scenario)
)

/** This node has the accounts that end with 2, over a store that can be held; shard 1 is of a node that stands still. */
const besideSilentWith = Effect.fnUntraced(function* (placing: Partial<Placing>) {
  const inner = yield* EventStore
  const faulty = FaultyStore.over(inner)
  const placement: Placing = { ...silentAt([1]), owns: (account) => account.endsWith("2"), ...placing }
  const node = yield* startNode("beside", { placement, store: faulty.store })
  yield* fund(node, ["near2"], 100n)
  return { faulty, inner, node }
})

const besideSilent = besideSilentWith({})

it.effect("behind a command that was given up none is decided once another one of its id was refused", () =>
  Effect.gen(function* () {
    const { faulty, inner, node } = yield* besideSilent
    const batch = [transfer("far1", "near2", 1n), deposit("near2", 1n, "twice")]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(defaultLimits.commandDeadlineMs / 2)
    faulty.hold("findCommands")
    const other = yield* Effect.forkChild(Effect.result(node.send(withdraw("near2", 1_000n, "twice"))))
    yield* until("its id is looked up", () => faulty.held() === 1)
    yield* TestClock.adjust(patienceMs - defaultLimits.commandDeadlineMs / 2)
    faulty.release()
    yield* TestClock.adjust(1_000)
    assert.strictEqual(outcomeOf(yield* Fiber.join(other)), "InsufficientFunds")
    assert.deepStrictEqual(yield* Fiber.join(sent), ["Indeterminate", "Unavailable"])
    assert.lengthOf(yield* readStream(inner, "near2"), 2)
  }).pipe(scenario)
)

it.effect("behind a command that was given up those that are under way are waited for together", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* besideSilent
    const alone = Array.from({ length: 5 }, (_, nth) => deposit("near2", 1n, `alone-${nth}`))
    const reversal: CommandInput = { _tag: "Reverse", original: "none", reason: "wrong" }
    const batch = [transfer("far1", "near2", 1n), ...alone.flatMap((one) => [one, reversal])]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(defaultLimits.commandDeadlineMs / 2)
    faulty.hold("commit")
    for (const one of alone) yield* Effect.forkChild(Effect.result(node.send(one)))
    yield* until("their commit is held", () => faulty.held() === 1)
    yield* TestClock.adjust(2 * patienceMs)
    const isAnswered = sent.pollUnsafe() !== undefined
    faulty.release()
    yield* TestClock.adjust(1_000)
    assert.isTrue(isAnswered)
    assert.deepStrictEqual(tally(yield* Fiber.join(sent)), {
      Indeterminate: 6,
      Unavailable: 5
    })
  }).pipe(scenario)
)

it.effect("a command that waits in vain for an account is told which node did not lend it", () =>
  Effect.gen(function* () {
    const { node } = yield* besideSilent
    const sent = yield* Effect.forkChild(Effect.flip(node.send(transfer("near2", "far1", 1n))))
    yield* TestClock.adjust(patienceMs)
    assert.deepInclude(yield* Fiber.join(sent), {
      _tag: "Unavailable",
      what: "account far1",
      reason: "the node node-1 did not lend it within 10000 ms"
    })
  }).pipe(scenario)
)

/** A node that leases account far1 at once, and has one commit with it on its way, without an answer; and why a later transfer to it was late. */
const lateBehindLease = (holdUp: (faulty: FaultyStore) => void) =>
  Effect.gen(function* () {
    const before = yield* startNode("before")
    yield* fund(before, ["far1"], 1n)
    const { head } = yield* before.dispatcher.localNode.headOf("far1" as AccountId) // a valid id
    yield* before.stop
    const { faulty, node } = yield* besideSilentWith({
      requestLease: (_account, _lease, reply) => {
        reply(Exit.succeed({ head, waitedMs: 0, leaseMs: 60_000 }))
        return undefined
      }
    })
    holdUp(faulty)
    const send = () => Effect.forkChild(Effect.flip(node.send(transfer("near2", "far1", 1n))))
    yield* send()
    yield* until("it is sent", () => node.dispatcher.meters().phases.flying === 1)
    // Longer than others join a lease.
    yield* TestClock.adjust(100)
    const second = yield* send()
    yield* TestClock.adjust(patienceMs)
    const { message } = yield* Fiber.join(second)
    faulty.script = () => undefined
    faulty.release()
    yield* TestClock.adjust(patienceMs)
    return message
  })

it.effect("one that waits behind a commit with a leased account is not told of the node that leased it", () =>
  Effect.gen(function* () {
    const message = yield* lateBehindLease((faulty) => faulty.hold("commit"))
    assert.include(
      message,
      "account far1: this node has it for other commands, which were not done within 10000 ms"
    )
  }).pipe(scenario)
)

it.effect("but of what the store said of that commit", () =>
  Effect.gen(function* () {
    const message = yield* lateBehindLease((faulty) => {
      faulty.script = ({ method }) => (method === "commit" ? "lostUnknown" : undefined)
    })
    assert.include(message, "event store: a fault of the test")
  }).pipe(scenario)
)

it.effect("one that stands in the line of its batch is told of that", () =>
  Effect.gen(function* () {
    const before = yield* startNode("before")
    yield* fund(before, ["near12"], 1n)
    yield* before.send(deposit("near12", 1n, "repeat"))
    yield* before.stop
    const { node } = yield* besideSilent
    // So that all are looked up before they are decided, and stand in line.
    assert.isTrue((yield* node.send(deposit("near12", 1n, "repeat"))).replayed)
    const batch = [transfer("near2", "far1", 1n), deposit("near2", 1n)].map(toCommand)
    const sent = yield* Effect.forkChild(node.dispatcher.dispatchMany(batch))
    yield* TestClock.adjust(patienceMs)
    const reasons = (yield* Fiber.join(sent)).map(
      (outcome) => Result.isFailure(outcome) && outcome.failure.message
    )
    assert.include(reasons[0], "the node node-1 did not lend it within 10000 ms")
    assert.include(reasons[1], "this batch: a command before it was not decided within 10000 ms")
  }).pipe(scenario)
)

it.effect(
  "a defect as one repeat of a batch gives an account back keeps no other from its first outcome",
  () =>
    Effect.gen(function* () {
      const before = yield* startNode("before")
      yield* fund(before, ["near12", "far1"], 9n)
      const repeats = [transfer("near12", "far1", 1n, "r1"), deposit("near12", 1n, "r2")]
      for (const command of repeats) yield* before.send(command)
      const { head } = yield* before.dispatcher.localNode.headOf("far1" as AccountId) // a valid id
      yield* before.stop
      const { faulty, node } = yield* besideSilentWith({
        requestLease: (_account, _lease, reply) => {
          reply(Exit.succeed({ head, waitedMs: 0, leaseMs: 60_000 }))
          return undefined
        },
        release: () => {
          throw new Error("a defect of the test")
        }
      })
      faulty.hold("commit")
      yield* Effect.forkChild(node.send(deposit("near12", 1n)))
      yield* until("a commit is held", () => faulty.held() === 1)
      const [first, second] = yield* Effect.forEach(repeats, (command) =>
        Effect.forkChild(Effect.exit(node.send(command)), { startImmediately: true })
      )
      yield* until("they wait for it", () => node.dispatcher.meters().phases.queued === 2)
      faulty.release()
      yield* TestClock.adjust(patienceMs)
      if (first === undefined || second === undefined) return assert.fail("two were sent")
      assert.include(String(yield* Fiber.join(first)), "a defect of the test")
      const told = yield* Fiber.join(second)
      assert.isTrue(Exit.isSuccess(told) && told.value.replayed)
    }).pipe(scenario)
)

it.effect("a node that an account moves to is not taken for the one that did not answer", () =>
  Effect.gen(function* () {
    const silent = silentAt([1])
    let ownerOfFirst = "silent"
    const placement: Placing = {
      ...silent,
      nodeOf: (shard) => (shard === 1 ? ownerOfFirst : "slow"),
      dispatch: (account, commands, isAgain) =>
        Effect.delay(silent.dispatch(account, commands, isAgain), account === "c3" ? 6_000 : 0)
    }
    const node = yield* startNode("sender", { placement })
    const slow = Array.from({ length: 2_500 }, () => deposit("c3", 1n))
    const batch = [deposit("a1", 1n), ...slow]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(1_000)
    ownerOfFirst = "slow"
    yield* TestClock.adjust(2 * patienceMs)
    const [first, ...others] = yield* Fiber.join(sent)
    assert.strictEqual(first, "Indeterminate")
    assert.deepStrictEqual(tally(others), { Accepted: 2_500 })
  }).pipe(scenario)
)

it.effect(
  "nothing is sent behind a message that was withheld, though its accounts have moved to a node that answers",
  () =>
    Effect.gen(function* () {
      let asked = 0
      const placement: Placing = {
        ...silentAt([1, 2]),
        // The last shard has moved by the time of its second message.
        nodeOf: (shard) => (shard === 3 && ++asked > 1 ? "well" : "silent")
      }
      const node = yield* startNode("sender", { placement })
      const deposits = (account: string, count: number) =>
        Array.from({ length: count }, () => deposit(account, 1n))
      // The first two fill the room of the batch until they are given up.
      const batch = [...deposits("a1", 1_000), ...deposits("b2", 1_000), ...deposits("c3", 2_000)]
      const sent = yield* node.sendBatch(batch)
      yield* TestClock.adjust(patienceMs)
      const answers = tally(yield* Fiber.join(sent))
      assert.deepStrictEqual(answers, { Indeterminate: 2_000, Unavailable: 2_000 })
    }).pipe(scenario)
)

it.effect(
  "a batch goes on behind a command that was refused at once, however long the commands behind that one took",
  () =>
    Effect.gen(function* () {
      const { faulty, node } = yield* besideSilent
      const secondMs = 1_000
      const isJustUnder = defaultLimits.commandDeadlineMs - secondMs
      faulty.hold("readStreams")
      // It is given up a second after the batch was sent, and with it the first of that, which has its id.
      const other = yield* Effect.forkChild(Effect.result(node.send(withdraw("cold2", 1n, "twice"))))
      yield* TestClock.adjust(isJustUnder)
      const batch = [
        deposit("near2", 1n, "twice"),
        ...Array.from({ length: 999 }, () => deposit("near2", 1n)),
        deposit("colder2", 1n),
        transfer("far3", "near2", 1n)
      ]
      const sent = yield* node.sendBatch(batch)
      // In steps: only once the first is answered, the others are taken in.
      for (let waitedMs = 0; waitedMs < isJustUnder + 1.5 * secondMs; waitedMs += 100)
        yield* TestClock.adjust(100)
      faulty.release()
      yield* TestClock.adjust(1_000)
      assert.strictEqual(outcomeOf(yield* Fiber.join(other)), "Unavailable")
      assert.deepStrictEqual(tally(yield* Fiber.join(sent)), {
        Unavailable: 1,
        Accepted: 1_000,
        AccountNotFound: 1
      })
    }).pipe(scenario)
)

it.effect("nor is a command that was Overloaded in the end taken for one without an outcome", () =>
  Effect.gen(function* () {
    const placement = elsewhere((account, commands) =>
      account === "a1"
        ? Effect.delay(Effect.succeed(commands.map(full)), defaultLimits.commandDeadlineMs)
        : Effect.succeed(commands.map(done))
    )
    const node = yield* startNode("sender", { placement })
    const batch = [deposit("a1", 1n), transfer("b3", "a1", 1n)]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(patienceMs)
    assert.deepStrictEqual(yield* Fiber.join(sent), ["Overloaded", "Accepted"])
  }).pipe(scenario)
)
