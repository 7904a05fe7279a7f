/** Two versions of the program in one cluster, each a process: they work together at the older one's, or one is refused. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { inject } from "vitest"
import * as ClusterRunner from "../../src/infra/cluster/ClusterRunner.ts"
import { PeerProtocol } from "../../src/infra/cluster/PeerHandshake.ts"
import { ClusterSecurity } from "../../src/infra/config/ClusterSecurity.ts"
import { freshDatabase, freshEventStore } from "../support/databases.ts"
import type { Attempt } from "../support/invariants.ts"
import { type Member, startMember } from "../support/members.ts"
import { ownPort } from "../support/ports.ts"
import { eventually } from "../support/waiting.ts"

const accounts = Array.from({ length: 40 }, (_, index) => `u${index}`)
const owned = (member: Member) =>
  Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account }))

it.live(
  "a node of a later version works with an older one at the older version, and one that cannot is refused",
  () =>
    Effect.gen(function* () {
      const eventStoreUrl = yield* freshEventStore(inject("postgresUrl"))
      const locksUrl = yield* freshDatabase(inject("postgresUrl"))
      const secret = "a secret of the tests"
      const stores = { eventStoreUrl, locksUrl, secret }
      const older = yield* startMember({ ...stores, name: "older", protocol: { min: 1, max: 1 } })
      const later = yield* startMember({
        ...stores,
        name: "later",
        protocol: { min: 1, max: 2 },
        form: "of another program"
      })
      yield* eventually(
        "both own accounts",
        Effect.map(Effect.forEach([older, later], owned), (all) => all.every(({ length }) => length > 5))
      )
      const [ours, theirs] = [(yield* owned(older))[0] ?? "", (yield* owned(later))[0] ?? ""]
      const send = (member: Member, ...commands: ReadonlyArray<Readonly<Record<string, unknown>>>) =>
        Effect.map(member.ask<ReadonlyArray<Attempt>>({ _tag: "Send", commands }), (attempts) =>
          attempts.map(({ answer }) => (typeof answer === "string" ? answer : "Accepted"))
        )
      const prepare = [ours, theirs].flatMap((account) => [
        { _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada", commandId: `open-${account}` },
        { _tag: "Deposit", account, amount: "100", commandId: `fund-${account}` }
      ])
      assert.deepStrictEqual(yield* send(older, ...prepare), ["Accepted", "Accepted", "Accepted", "Accepted"])
      const transfer = (from: string, to: string, amount: string, commandId: string) => ({
        _tag: "Transfer",
        from,
        to,
        amount,
        commandId
      })
      for (const member of [older, later]) {
        const id = (nth: number) => `${member.name}-${nth}`
        assert.deepStrictEqual(
          yield* send(
            member,
            transfer(ours, theirs, "1", id(1)),
            transfer(theirs, ours, "2", id(2)),
            transfer(ours, theirs, "900", id(3))
          ),
          ["Accepted", "Accepted", "InsufficientFunds"]
        )
      }
      for (const member of [older, later]) {
        assert.deepStrictEqual(yield* member.ask({ _tag: "Head", account: ours }), {
          version: 6,
          balance: "102"
        })
        assert.deepStrictEqual(yield* member.ask({ _tag: "Head", account: theirs }), {
          version: 6,
          balance: "98"
        })
      }

      const place = { host: "127.0.0.1", port: yield* ownPort, locksUrl: Redacted.make(locksUrl) }
      const join = Effect.scoped(Layer.build(ClusterRunner.layer(place)))
      const stranger = yield* Effect.flip(join)
      assert.match(
        stranger.message,
        /cannot join the cluster, .*CHRONICLE_CLUSTER_SECRET is set on the other node/
      )
      const refusal = yield* join.pipe(
        Effect.provideService(PeerProtocol, { min: 3, max: 3 }),
        Effect.provideService(ClusterSecurity, { secret: Redacted.make(secret), tls: undefined }),
        Effect.flip
      )
      assert.strictEqual(refusal._tag, "ClusterMemberIncompatible")
      assert.match(refusal.message, /cannot join the cluster, .*speaks versions 1 to [12].*this node 3 to 3/)
    }).pipe(Effect.scoped),
  420_000
)
