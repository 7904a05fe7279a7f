/** The contract of the event store, which it must keep in memory, on PostgreSQL and on CockroachDB alike. */
import { assert, layer } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, type Layer, Option } from "effect"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { CommitOutcome, type EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { sendBehind } from "../support/sendBehind.ts"
import { accountId, commandId, storedEvent, storedEvents } from "../support/storedEvents.ts"
import { untilDefinite } from "../support/untilDefinite.ts"

type Store = EventStore["Service"]

/** Two clients on one log, as two nodes have them. */
export class TwoStores extends Context.Service<
  TwoStores,
  { readonly first: Store; readonly second: Store }
>()("chronicle/test/TwoStores") {}

const committed = CommitOutcome.Committed()
const fenced = CommitOutcome.Fenced()

/** All tests of a suite share one log: each uses accounts, commands and writers that begin with a name of its own. */
export const eventStoreContract = <E>(name: string, stores: Layer.Layer<TwoStores, E>) => {
  layer(stores, { excludeTestServices: true, timeout: "4 minutes" })(`the event store (${name})`, (it) => {
    const commit = (store: Store, writerId: string, seq: number, events: ReadonlyArray<StoredEvent>) =>
      store.commit({ writerId, seq, events })
    const wholeStream = (store: Store, account: string) =>
      store.readStream({ account: accountId(account), after: 0, limit: 10_000 })

    it.effect("gives back every column of an event exactly as it was committed", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        const payloads = [
          JSON.stringify({ text: "Grüße, 日本語, 🦀, e\u0301" }),
          JSON.stringify({ text: `quotes ' " \` and \\ \\\\ and $1 and ; -- /* */` }),
          JSON.stringify({ text: "NUL \u0000, lone surrogate \ud800, line\nbreak, tab\t" }),
          `{ "spaces":  "are kept" , "b":1,"a":2 }`,
          JSON.stringify({ text: "{NULL}", empty: "", comma: "a,b", brace: "}{" })
        ]
        const events = payloads.map((payload, index) =>
          storedEvent({
            account: "exact",
            version: index + 1,
            payload,
            context: JSON.stringify({ caller: `teller "${index}"` }),
            ...(index % 2 === 0 ? { effectiveAt: index } : {})
          })
        )
        assert.deepStrictEqual(yield* commit(first, "exact", 1, events), committed)
        assert.deepStrictEqual(yield* wholeStream(first, "exact"), events)
      })
    )

    it.effect("keeps versions above 2^31 and instants at both ends of the calendar", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        const events = [
          storedEvent({ account: "large", version: 2 ** 31 + 5, recordedAt: 0, effectiveAt: 0 }),
          storedEvent({
            account: "large",
            version: Number.MAX_SAFE_INTEGER - 1,
            recordedAt: 253_402_300_799_999,
            effectiveAt: 253_402_300_799_999
          })
        ]
        assert.deepStrictEqual(yield* commit(first, "large", 1, events), committed)
        assert.deepStrictEqual(yield* wholeStream(first, "large"), events)
      })
    )

    it.effect("keeps every millisecond of the calendar", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        // From the year 4253 on microseconds need more bits than a number has; 217777670167842 is one of those instants.
        const instants = [217_777_670_167_842, 253_402_300_799_998]
        for (let nth = 1; nth <= 500; nth++) instants.push(nth * 506_804_601_599 - (nth % 7))
        const events = instants.map((effectiveAt, index) =>
          storedEvent({ account: "calendar", version: index + 1, effectiveAt })
        )
        assert.deepStrictEqual(yield* commit(first, "calendar", 1, events), committed)
        assert.deepStrictEqual(yield* wholeStream(first, "calendar"), events)
      })
    )

    it.effect("takes five thousand events in one commit", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        const events = storedEvents("bulk", 1, 5_000)
        assert.deepStrictEqual(yield* commit(first, "bulk", 1, events), committed)
        assert.deepStrictEqual(yield* wholeStream(first, "bulk"), events)
        const [row] = yield* first.readTail({ writerId: "bulk", after: 0, limit: 2 })
        assert.deepStrictEqual(row?.keys, [[accountId("bulk"), 1, 5_000]])
      })
    )

    it.effect("writes all legs of a commit or none, and names the versions that were taken", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        yield* commit(first, "legs-1", 1, storedEvents("legs-taken", 1, 2))
        const outcome = yield* commit(second, "legs-2", 1, [
          storedEvent({ account: "legs-free", version: 1, command: "legs-t1" }),
          storedEvent({ account: "legs-taken", version: 2, command: "legs-t1", ordinal: 1 }),
          storedEvent({ account: "legs-taken", version: 3, command: "legs-t2" })
        ])
        assert.deepStrictEqual(
          outcome,
          CommitOutcome.Conflict({
            versions: [{ account: accountId("legs-taken"), version: 2 }],
            commands: []
          })
        )
        assert.deepStrictEqual(yield* wholeStream(first, "legs-free"), [])
        assert.deepStrictEqual(yield* wholeStream(first, "legs-taken"), storedEvents("legs-taken", 1, 2))
        assert.deepStrictEqual(yield* first.readTail({ writerId: "legs-2", after: 0, limit: 9 }), [])
      })
    )

    it.effect("names the commands that were accepted before, and only those", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const original = storedEvent({ account: "repeat-a", version: 1, command: "repeat-1" })
        yield* commit(first, "repeat-1", 1, [original])
        const outcome = yield* commit(second, "repeat-2", 1, [
          storedEvent({ account: "repeat-b", version: 1, command: "repeat-1" }),
          storedEvent({ account: "repeat-b", version: 2, command: "repeat-2" })
        ])
        assert.deepStrictEqual(
          outcome,
          CommitOutcome.Conflict({ versions: [], commands: [commandId("repeat-1")] })
        )
        assert.deepStrictEqual(yield* first.findCommands([commandId("repeat-1"), commandId("repeat-2")]), [
          original
        ])
        // A number of which nothing was written is free for another commit.
        const others = [storedEvent({ account: "repeat-b", version: 1, command: "repeat-2" })]
        assert.deepStrictEqual(yield* commit(second, "repeat-2", 1, others), committed)
      })
    )

    it.effect("names taken versions and repeated commands of one commit together", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const events = [
          storedEvent({ account: "both", version: 1 }),
          storedEvent({ account: "both", version: 2 })
        ]
        yield* commit(first, "both-1", 1, events)
        assert.deepStrictEqual(
          yield* commit(second, "both-2", 1, events),
          CommitOutcome.Conflict({
            versions: [
              { account: accountId("both"), version: 1 },
              { account: accountId("both"), version: 2 }
            ],
            commands: [commandId("both-1"), commandId("both-2")]
          })
        )
      })
    )

    it.effect("answers Committed when the identical commit is sent again, and writes it once", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const events = [
          storedEvent({ account: "again-a", version: 1, command: "again-1" }),
          storedEvent({ account: "again-b", version: 1, command: "again-1", ordinal: 1 })
        ]
        for (const store of [first, second, first]) {
          assert.deepStrictEqual(yield* commit(store, "again", 1, events), committed)
        }
        assert.deepStrictEqual(yield* wholeStream(first, "again-a"), events.slice(0, 1))
        assert.strictEqual((yield* first.readTail({ writerId: "again", after: 0, limit: 9 })).length, 1)
      })
    )

    it.effect("dies when a number that was used comes with other events", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        yield* commit(first, "reuse", 1, storedEvents("reuse", 1, 1))
        const exit = yield* Effect.exit(commit(first, "reuse", 1, storedEvents("reuse", 2, 2)))
        assert.strictEqual(exit._tag, "Failure")
        assert.deepStrictEqual(yield* wholeStream(first, "reuse"), storedEvents("reuse", 1, 1))
      })
    )

    it.effect("dies when one key or one command stands twice in a commit", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        const twice = [
          [
            storedEvent({ account: "twice", version: 1, command: "twice-1" }),
            storedEvent({ account: "twice", version: 1, command: "twice-2" })
          ],
          [
            storedEvent({ account: "twice", version: 1, command: "twice-1" }),
            storedEvent({ account: "twice", version: 2, command: "twice-1" })
          ]
        ]
        for (const events of twice) {
          const exit = yield* Effect.exit(commit(first, "twice", 1, events))
          assert.strictEqual(exit._tag, "Failure")
        }
        assert.deepStrictEqual(yield* wholeStream(first, "twice"), [])
      })
    )

    it.effect("lets exactly one of fifty writers have a version that all of them want", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, index) => index),
          (index) =>
            commit(index % 2 === 0 ? first : second, `race-${index}`, 1, [
              storedEvent({ account: "race", version: 1, command: `race-${index}` }),
              storedEvent({ account: `race-leg-${index}`, version: 1, command: `race-${index}`, ordinal: 1 })
            ]).pipe(untilDefinite),
          { concurrency: "unbounded" }
        )
        const winners = outcomes.flatMap((outcome, index) => (outcome._tag === "Committed" ? [index] : []))
        assert.strictEqual(winners.length, 1)
        const losers = outcomes.filter((outcome) => outcome._tag !== "Committed")
        assert.deepStrictEqual(
          losers,
          losers.map(() =>
            CommitOutcome.Conflict({
              versions: [{ account: accountId("race"), version: 1 }],
              commands: []
            })
          )
        )
        const [stored] = yield* wholeStream(first, "race")
        assert.strictEqual(stored?.commandId, `race-${winners[0]}`)
        const legs = Array.from({ length: 50 }, (_, index) => ({
          account: accountId(`race-leg-${index}`),
          version: 1
        }))
        assert.strictEqual((yield* first.readEvents(legs)).length, 1)
      })
    )

    it.effect("lets a command that races itself on two nodes land once", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const outcomes = yield* Effect.forEach(
          [first, second],
          (store, index) =>
            commit(store, `self-${index}`, 1, [
              storedEvent({ account: `self-${index}`, version: 1, command: "self" })
            ]).pipe(untilDefinite),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(outcomes.map((outcome) => outcome._tag).toSorted(), ["Committed", "Conflict"])
      })
    )

    it.effect("hides a commit behind another until that one is durable", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const events = storedEvents("behind", 1, 3)
        const behind = yield* sendBehind(first, { writerId: "behind", seq: 1, events })
        const reading = yield* Effect.forkChild(wholeStream(second, "behind"), { startImmediately: true })
        yield* Effect.sleep(200)
        // CockroachDB lets who reads wait for the word.
        assert.deepStrictEqual(reading.pollUnsafe() ?? Exit.succeed([]), Exit.succeed([]))
        assert.isUndefined(behind.fiber.pollUnsafe())
        yield* Deferred.succeed(behind.word, true)
        yield* Fiber.join(reading)
        assert.deepStrictEqual(yield* Fiber.join(behind.fiber), committed)
        assert.deepStrictEqual(yield* wholeStream(second, "behind"), events)
        const tail = yield* second.readTail({ writerId: "behind", after: 0, limit: 9 })
        assert.deepStrictEqual(
          tail.map((row) => row.seq),
          [1]
        )
      })
    )

    it.effect("frees the keys and the number of a commit whose predecessor failed", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const behind = yield* sendBehind(first, {
          writerId: "held",
          seq: 1,
          events: storedEvents("held-back", 1, 3)
        })
        yield* Deferred.succeed(behind.word, false)
        assert.strictEqual((yield* Fiber.join(behind.fiber))._tag, "NotWritten")
        assert.deepStrictEqual(yield* wholeStream(second, "held-back"), [])
        assert.deepStrictEqual(yield* second.readTail({ writerId: "held", after: 0, limit: 9 }), [])
        assert.deepStrictEqual(yield* commit(first, "held", 1, storedEvents("held-other", 1, 1)), committed)
        assert.deepStrictEqual(yield* commit(second, "held-2", 1, storedEvents("held-back", 1, 1)), committed)
      })
    )

    it.effect("names the conflicts of a commit behind another before its predecessor is durable", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        yield* commit(second, "way-1", 1, storedEvents("way", 1, 1))
        yield* second.fenceWriter("way-fenced")
        const never = Effect.never
        assert.deepStrictEqual(
          yield* first.commit({ writerId: "way-2", seq: 1, events: storedEvents("way", 1, 2) }, never),
          CommitOutcome.Conflict({
            versions: [{ account: accountId("way"), version: 1 }],
            commands: [commandId("way-1")]
          })
        )
        assert.deepStrictEqual(
          yield* first.commit({ writerId: "way-fenced", seq: 1, events: storedEvents("way", 2, 2) }, never),
          fenced
        )
        const twice = [
          storedEvent({ account: "way", version: 5 }),
          storedEvent({ account: "way", version: 5 })
        ]
        const exit = yield* Effect.exit(first.commit({ writerId: "way-2", seq: 1, events: twice }, never))
        assert.strictEqual(exit._tag, "Failure")
        assert.deepStrictEqual(yield* wholeStream(first, "way"), storedEvents("way", 1, 1))
      })
    )

    it.effect("answers a conflict while later versions of the account wait for their predecessor", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        yield* commit(second, "later-1", 1, storedEvents("later", 1, 1))
        const behind = yield* sendBehind(first, {
          writerId: "later-2",
          seq: 1,
          events: storedEvents("later", 3, 9)
        })
        // Well below the time after which the server would end what waits.
        const conflict = yield* Effect.timeoutOption(
          commit(first, "later-3", 1, storedEvents("later", 1, 2)),
          defaultLimits.storeStatementMs / 2
        )
        assert.strictEqual(Option.getOrUndefined(conflict)?._tag, "Conflict")
        yield* Deferred.succeed(behind.word, false)
        yield* Fiber.join(behind.fiber)
      })
    )

    it.effect("lets one of two have a key that a commit behind another wants too", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const behind = yield* sendBehind(first, {
          writerId: "both-want-1",
          seq: 1,
          events: [storedEvent({ account: "both-want", version: 1, command: "both-want-1" })]
        })
        const other = yield* Effect.forkChild(
          commit(second, "both-want-2", 1, [
            storedEvent({ account: "both-want", version: 1, command: "both-want-2" })
          ]).pipe(untilDefinite),
          { startImmediately: true }
        )
        yield* Effect.sleep(100)
        yield* Deferred.succeed(behind.word, true)
        const outcomes = [yield* Fiber.join(behind.fiber), yield* Fiber.join(other)]
        assert.deepStrictEqual(outcomes.map(({ _tag }) => _tag).toSorted(), ["Committed", "Conflict"])
        const winner = outcomes[0]?._tag === "Committed" ? "both-want-1" : "both-want-2"
        const [stored] = yield* wholeStream(first, "both-want")
        assert.strictEqual(stored?.commandId, winner)
      })
    )

    it.effect("fences a writer that has a commit behind another: before it or after it", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const events = storedEvents("behind-fence", 1, 1)
        const behind = yield* sendBehind(first, { writerId: "behind-fence", seq: 1, events })
        const fencing = yield* Effect.forkChild(second.fenceWriter("behind-fence"), {
          startImmediately: true
        })
        yield* Effect.sleep(100)
        yield* Deferred.succeed(behind.word, true)
        const outcome = yield* Fiber.join(behind.fiber)
        const end = yield* Fiber.join(fencing)
        assert.include(["Committed", "Fenced"], outcome._tag)
        const isIn = outcome._tag === "Committed"
        assert.deepStrictEqual(yield* wholeStream(second, "behind-fence"), isIn ? events : [])
        assert.strictEqual(end, isIn ? 2 : 1)
        assert.deepStrictEqual(
          yield* commit(first, "behind-fence", end, storedEvents("behind-fence", 2, 2)),
          fenced
        )
      })
    )

    it.effect("reads a stream from any version, to any version, in pieces", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        const events = storedEvents("pieces", 1, 30)
        yield* commit(first, "pieces", 1, events)
        const read = (bound: { after: number; upTo?: number; limit: number }) =>
          Effect.map(first.readStream({ account: accountId("pieces"), ...bound }), (rows) =>
            rows.map((row) => row.version)
          )
        assert.deepStrictEqual(yield* read({ after: 0, limit: 3 }), [1, 2, 3])
        assert.deepStrictEqual(yield* read({ after: 27, limit: 10 }), [28, 29, 30])
        assert.deepStrictEqual(yield* read({ after: 4, upTo: 6, limit: 10 }), [5, 6])
        assert.deepStrictEqual(yield* read({ after: 30, limit: 10 }), [])
        assert.deepStrictEqual(yield* wholeStream(first, "pieces-unknown"), [])
      })
    )

    it.effect("reads many streams in order of account and version, within one limit for all", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        // Bytes decide the order: "B" before "_" before "a", whatever the language of the database.
        const names = ["many:a", "many:B", "many:_", ...Array.from({ length: 40 }, (_, n) => `many:z${n}`)]
        const inOrder = names.toSorted()
        yield* commit(
          first,
          "many",
          1,
          names.flatMap((account) => storedEvents(account, 1, 3))
        )
        const from = names.map((account) => ({ account: accountId(account), after: 1 }))
        const rows = yield* first.readStreams(from, 1_000)
        assert.deepStrictEqual(
          rows.map((row) => `${row.accountId}@${row.version}`),
          inOrder.flatMap((account) => [`${account}@2`, `${account}@3`])
        )
        assert.deepStrictEqual(yield* first.readStreams(from, 35), rows.slice(0, 35))
        assert.deepStrictEqual(yield* first.readStreams([], 10), [])
        // The walk over the whole log goes on across accounts, and finds those without a first version.
        const above = { account: inOrder[0] ?? "", version: 2 }
        assert.deepStrictEqual(
          (yield* first.scan({ after: above, limit: 5 })).map((row) => `${row.accountId}@${row.version}`),
          [`${inOrder[0]}@3`, ...[1, 2, 3].map((version) => `${inOrder[1]}@${version}`), `${inOrder[2]}@1`]
        )
        yield* commit(first, "many", 2, storedEvents("many:zz", 4, 4))
        const orphan = yield* first.scan({ after: { account: "many:zy", version: 0 }, limit: 1 })
        assert.deepStrictEqual(orphan, storedEvents("many:zz", 4, 4))
      })
    )

    it.effect("finds single events by key and commands by id, and leaves out what is not there", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        const legs = [
          storedEvent({ account: "find-a", version: 1, command: "find-1" }),
          storedEvent({ account: "find-b", version: 1, command: "find-1", ordinal: 1 })
        ]
        yield* commit(first, "find", 1, legs)
        const keys = [
          { account: accountId("find-b"), version: 1 },
          { account: accountId("find-a"), version: 1 },
          { account: accountId("find-a"), version: 2 }
        ]
        assert.deepStrictEqual(yield* first.readEvents(keys), legs)
        assert.deepStrictEqual(yield* first.readEvents([]), [])
        assert.deepStrictEqual(yield* first.findCommands([commandId("find-1")]), legs.slice(0, 1))
        assert.deepStrictEqual(yield* first.findCommands([commandId("find-2")]), [])
      })
    )

    it.effect("finds the events about a hold in a part of a stream, and none that only mention it", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        const about = (hold: string) => `{"hold":"${hold}","amount":"1"}`
        const rows = [
          { payload: about("ho-1"), type: "HoldPlaced" },
          { payload: about("ho_1"), type: "HoldPlaced" },
          { payload: about("ho-1"), type: "HoldReleased" },
          // Its description says what the payload of an event of the hold says.
          { payload: JSON.stringify({ hold: "other", description: about("ho-1") }), type: "HoldPlaced" },
          { payload: about("ho-1"), type: "Deposited" },
          { payload: about("ho-1"), type: "HoldCaptured" }
        ].map(({ payload, type }, index) =>
          storedEvent({ account: "holder", version: index + 1, payload, type })
        )
        yield* commit(first, "holds", 1, rows)
        const versions = (after: number, upTo: number) =>
          Effect.map(
            first.readHold({ account: accountId("holder"), hold: commandId("ho-1"), after, upTo }),
            (found) => found.map(({ version }) => version)
          )
        assert.deepStrictEqual(yield* versions(0, 100), [1, 3, 6])
        assert.deepStrictEqual(yield* versions(1, 6), [3, 6])
        assert.deepStrictEqual(yield* versions(1, 5), [3])
        assert.deepStrictEqual(yield* versions(6, 100), [])
      })
    )

    it.effect("keeps a writer's tail dense, with the ranges and the latest instant of each commit", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const at = 1_767_000_000_000
        yield* commit(first, "tail", 1, [
          storedEvent({ account: "tail-a", version: 1, recordedAt: at + 2 }),
          storedEvent({ account: "tail-b", version: 1, recordedAt: at + 1 }),
          storedEvent({ account: "tail-a", version: 2, recordedAt: at + 2 })
        ])
        yield* commit(first, "tail", 2, [storedEvent({ account: "tail-b", version: 2, recordedAt: at + 5 })])
        const rows = [
          {
            writerId: "tail",
            seq: 1,
            recordedAt: at + 2,
            rows: 3,
            keys: [
              [accountId("tail-a"), 1, 2],
              [accountId("tail-b"), 1, 1]
            ] as const
          },
          {
            writerId: "tail",
            seq: 2,
            recordedAt: at + 5,
            rows: 1,
            keys: [[accountId("tail-b"), 2, 2]] as const
          }
        ]
        assert.deepStrictEqual(yield* second.readTail({ writerId: "tail", after: 0, limit: 9 }), rows)
        assert.deepStrictEqual(
          yield* second.readTail({ writerId: "tail", after: 0, limit: 1 }),
          rows.slice(0, 1)
        )
        assert.deepStrictEqual(yield* second.readTail({ writerId: "tail", after: 2, limit: 9 }), [])
      })
    )

    it.effect("ends a writer's tail with one fence, however often it is asked for", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        yield* first.registerWriter({ writerId: "fence", node: "n1", closedAt: 1 })
        yield* commit(first, "fence", 1, storedEvents("fence", 1, 1))
        const fences = yield* Effect.forEach(
          [first, second, first, second],
          (store) => store.fenceWriter("fence"),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(fences, [2, 2, 2, 2])
        // The zombie, which believes that it still owns the account.
        assert.deepStrictEqual(yield* commit(first, "fence", 2, storedEvents("fence", 2, 2)), fenced)
        assert.deepStrictEqual(yield* wholeStream(first, "fence"), storedEvents("fence", 1, 1))
        // What had landed before stays answered so.
        assert.deepStrictEqual(yield* commit(first, "fence", 1, storedEvents("fence", 1, 1)), committed)
        const tail = yield* second.readTail({ writerId: "fence", after: 0, limit: 9 })
        assert.deepStrictEqual(
          tail.map((row) => [row.seq, row.rows]),
          [
            [1, 1],
            [2, 0]
          ]
        )
        const writer = (yield* second.listWriters).find((row) => row.writerId === "fence")
        assert.deepInclude(writer, { fenced: true, lastSeq: 2, node: "n1" })
      })
    )

    it.effect("fences a writer that is committing just now either before or after, never in between", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const lane = Effect.gen(function* () {
          for (let seq = 1; ; seq++) {
            const events = storedEvents("zombie", seq, seq)
            const outcome = yield* commit(first, "zombie", seq, events).pipe(untilDefinite)
            if (outcome._tag !== "Committed") return { seq, outcome }
          }
        })
        const fiber = yield* Effect.forkChild(lane)
        const hasBegun = first
          .readTail({ writerId: "zombie", after: 0, limit: 1 })
          .pipe(Effect.repeat({ until: (rows) => rows.length > 0 }))
        yield* hasBegun
        const fence = yield* second.fenceWriter("zombie")
        const end = yield* Fiber.join(fiber)
        assert.deepStrictEqual(end, { seq: fence, outcome: fenced })
        assert.strictEqual((yield* wholeStream(first, "zombie")).length, fence - 1)
        const tail = yield* first.readTail({ writerId: "zombie", after: 0, limit: 10_000 })
        assert.deepStrictEqual(
          tail.map((row) => row.seq),
          Array.from({ length: fence }, (_, index) => index + 1)
        )
      })
    )

    it.effect("fences a writer that never committed at number 1", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        yield* first.registerWriter({ writerId: "idle", node: "n1", closedAt: 1 })
        assert.strictEqual(yield* first.fenceWriter("idle"), 1)
        assert.deepStrictEqual(yield* commit(first, "idle", 1, storedEvents("idle", 1, 1)), fenced)
      })
    )

    it.effect("moves a writer's closed instant forward only, and answers the store's clock", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const closed = Effect.map(
          second.listWriters,
          (rows) => rows.find((row) => row.writerId === "beat")?.closedAt
        )
        yield* first.registerWriter({ writerId: "beat", node: "n1", closedAt: 1_000 })
        assert.strictEqual(yield* closed, 1_000)
        const early = yield* first.heartbeat([{ writerId: "beat", closedAt: 2_000 }])
        const late = yield* first.heartbeat([{ writerId: "beat", closedAt: 1_500 }])
        assert.strictEqual(yield* closed, 2_000)
        assert.isAtLeast(late, early)
        assert.isAtLeast(yield* first.heartbeat([]), late)
        // A restart of the same registration changes nothing.
        yield* first.registerWriter({ writerId: "beat", node: "n2", closedAt: 1 })
        const row = (yield* first.listWriters).find((writer) => writer.writerId === "beat")
        assert.deepInclude(row, { node: "n1", closedAt: 2_000, lastSeq: 0, fenced: false })
        assert.isAtLeast(row?.heartbeatAt ?? 0, early)
      })
    )

    it.effect("lists more writers than one statement asks about, each with its last number", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        const ids = Array.from({ length: 40 }, (_, index) => `crowd-${String(index).padStart(2, "0")}`)
        for (const [index, writerId] of ids.entries()) {
          yield* first.registerWriter({ writerId, node: "n1", closedAt: index })
          if (index % 2 === 0) yield* commit(first, writerId, 1, storedEvents(writerId, 1, 1))
        }
        const rows = (yield* first.listWriters).filter((row) => row.writerId.startsWith("crowd-"))
        assert.deepStrictEqual(
          rows.map((row) => [row.writerId, row.lastSeq]),
          ids.map((writerId, index) => [writerId, index % 2 === 0 ? 1 : 0])
        )
      })
    )

    it.effect("lists all writers as of one moment, however many are open", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        const ids = Array.from({ length: 40 }, (_, index) => `cut-${String(index).padStart(2, "0")}`)
        for (const writerId of ids) yield* first.registerWriter({ writerId, node: "n1", closedAt: 0 })
        // Number n of the first is committed before number n of the last, so no moment shows the last ahead.
        const rounds = 60
        const writing = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: rounds }, (_, index) => index + 1),
            (seq) =>
              Effect.forEach(["cut-00", "cut-39"], (writerId) =>
                commit(first, writerId, seq, storedEvents(writerId, seq, seq))
              )
          )
        )
        const seen: Array<readonly [number, number]> = []
        do {
          const numbers = new Map((yield* second.listWriters).map((row) => [row.writerId, row.lastSeq]))
          seen.push([numbers.get("cut-00") ?? 0, numbers.get("cut-39") ?? 0])
        } while (seen.at(-1)?.[1] !== rounds)
        yield* Fiber.join(writing)
        const wrong = seen.filter(([before, after]) => after > before || before > after + 1)
        assert.deepStrictEqual(wrong, [])
        assert.isAbove(new Set(seen.map(String)).size, 1)
      })
    )

    it.effect("moves relay cursors forward only", () =>
      Effect.gen(function* () {
        const { first, second } = yield* TwoStores
        yield* first.moveRelayCursors(new Map())
        yield* first.moveRelayCursors(
          new Map([
            ["cursor-a", 5],
            ["cursor-b", 1]
          ])
        )
        yield* second.moveRelayCursors(
          new Map([
            ["cursor-a", 3],
            ["cursor-b", 7]
          ])
        )
        const cursors = yield* first.relayCursors
        assert.strictEqual(cursors.get("cursor-a"), 5)
        assert.strictEqual(cursors.get("cursor-b"), 7)
        assert.strictEqual(cursors.get("cursor-c"), undefined)
      })
    )

    it.effect("names its product and version", () =>
      Effect.gen(function* () {
        const { first } = yield* TwoStores
        assert.match(
          yield* first.product,
          /^(memory|PostgreSQL \d+(\.\d+)?\S*|CockroachDB v\d+\.\d+\.\d+\S*)$/
        )
      })
    )
  })
}
