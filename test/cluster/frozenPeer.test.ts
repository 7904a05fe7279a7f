/** A node stands still, as a process: what needs it is refused beyond its credit, everything else goes on, and it comes back. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { inject } from "vitest"
import { freshDatabase, freshEventStore } from "../support/databases.ts"
import type { Attempt } from "../support/invariants.ts"
import { tally } from "../support/ledgerWorld.ts"
import { type Member, startMember } from "../support/members.ts"
import { eventually } from "../support/waiting.ts"

const accounts = Array.from({ length: 80 }, (_, index) => `z${index}`)
const owned = (member: Member) =>
  Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account }))
const deposits = (some: ReadonlyArray<string>, name: string, times: number) =>
  some.flatMap((account) =>
    Array.from({ length: times }, (_, nth) => ({
      _tag: "Deposit",
      account,
      amount: "1",
      commandId: `${name}-${account}-${nth}`
    }))
  )
const send = (member: Member, commands: ReadonlyArray<Readonly<Record<string, unknown>>>) =>
  Effect.map(member.ask<ReadonlyArray<Attempt>>({ _tag: "Send", commands }), (attempts) =>
    tally(attempts.map(({ answer }) => (typeof answer === "string" ? answer : "Accepted")))
  )

/** Commands that a node takes from another before it has answered some. */
const credit = 40

it.live(
  "a frozen node makes its peer refuse what needs it beyond its credit, and nothing else",
  () =>
    Effect.gen(function* () {
      const stores = {
        eventStoreUrl: yield* freshEventStore(inject("postgresUrl")),
        locksUrl: yield* freshDatabase(inject("postgresUrl")),
        cluster: { mailboxMax: credit }
      }
      const first = yield* startMember({ ...stores, name: "first" })
      const second = yield* startMember({ ...stores, name: "second" })
      yield* eventually(
        "both own accounts",
        Effect.map(
          Effect.forEach([first, second], owned),
          (all) => all.every(({ length }) => length > 10) && all.flat().length === accounts.length
        )
      )
      const [ours, theirs] = [yield* owned(first), yield* owned(second)]
      for (const account of accounts) {
        const command = {
          _tag: "OpenAccount",
          account,
          asset: "USD/2",
          owner: "Ada",
          commandId: `open-${account}`
        }
        assert.deepStrictEqual(yield* send(first, [command]), { Accepted: 1 })
      }
      yield* second.signal("SIGSTOP")
      const needing = yield* Effect.forkChild(send(first, deposits(theirs, "needs", 10)))
      const begun = yield* Clock.currentTimeMillis
      assert.deepStrictEqual(yield* send(first, deposits(ours, "own", 10)), { Accepted: ours.length * 10 })
      // Nothing waited for the frozen node.
      assert.isBelow((yield* Clock.currentTimeMillis) - begun, 8_000)
      const answers = yield* Fiber.join(needing)
      assert.isAbove(answers.Overloaded ?? 0, 0)
      // What was refused is at least what its credit does not cover: batches of one shard each pass whole, or not at all.
      assert.isAtMost(theirs.length * 10 - (answers.Overloaded ?? 0), 2 * credit)
      yield* second.signal("SIGCONT")
      yield* eventually(
        "all of it is done in the end, under the same ids",
        Effect.map(
          Effect.forEach(deposits(theirs, "needs", 10), (command) => send(first, [command])),
          (all) => all.every((one) => one.Accepted === 1)
        )
      )
      for (const account of [...ours, ...theirs])
        assert.deepInclude(yield* first.ask({ _tag: "Head", account }), { version: 11 })
    }).pipe(Effect.scoped),
  420_000
)
