/** A client of several nodes gives a command to the node that owns its first account, by what the nodes say of themselves. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { Placement, type Placing } from "../../src/actors/accounts/Placement.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { type OwnedShards, shardOf } from "../../src/domain/Shard.ts"
import { Ledger } from "../../src/Ledger.ts"
import { connect, memoryLedger, openTcp, token, tokenOf } from "../support/rpcWorld.ts"
import { eventually, until } from "../support/waiting.ts"

const rule = { shards: 8, affinitySegments: 1 }
const sides = [
  [1, 2, 3, 4],
  [5, 6, 7, 8]
] as const
const accounts = Array.from({ length: 40 }, (_, nth) => `r${nth}:cash`)
const sideOf = (account: string) => (shardOf(account as AccountId, rule) <= 4 ? 0 : 1) // a valid id
const open = (account: string) =>
  ({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada", commandId: `open-${account}` }) as const

/** Two doors of one ledger, each of which says that it owns half of the shards, and what came through each. */
const twoDoors = Effect.fnUntraced(function* (tokens: ReadonlyArray<ReturnType<typeof token>> = []) {
  const inside = yield* Ledger
  const alone = yield* Placement
  const came: ReadonlyArray<Array<string>> = [[], []]
  const told: Array<OwnedShards> = sides.map((owned) => ({ change: 1, rule, owned: [...owned] }))
  const door = (nth: 0 | 1, port?: number) => {
    const placing: Placing = { ...alone, ownedShards: () => told[nth] ?? alone.ownedShards() }
    const ledger: Ledger["Service"] = {
      ...inside,
      dispatch: (command) => {
        came[nth]?.push("account" in command ? command.account : "")
        return inside.dispatch(command)
      },
      dispatchMany: (commands) => {
        came[nth]?.push(...commands.map((command) => ("account" in command ? command.account : "")))
        return inside.dispatchMany(commands)
      },
      strongBalance: (account) => {
        came[nth]?.push(account)
        return inside.strongBalance(account)
      }
    }
    return openTcp({ ledger, tokens, ...(port === undefined ? {} : { port }) }).pipe(
      Effect.provideService(Placement, placing)
    )
  }
  const doors = [yield* door(0), yield* door(1)] as const
  return { came, told, door, doors, urls: doors.map(({ url }) => url) }
})

/** Whether what came through each door since the last look was its own. */
const wasRouted = (came: ReadonlyArray<Array<string>>): boolean => {
  const taken = came.map((one) => one.splice(0))
  return taken.every((one, nth) => one.every((account) => sideOf(account) === nth))
}

layer(memoryLedger, { excludeTestServices: true })("a client of two nodes", (it) => {
  it.effect("gives each command, batch and strong balance to the owner", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { came, told, doors, door, urls } = yield* twoDoors()
        const way = yield* connect({ urls })
        yield* way.ledger.dispatchMany(accounts.map(open))
        const askAll = Effect.forEach(accounts, (account) => way.ledger.strongBalance(account))
        yield* eventually(
          "the client knows the owners",
          Effect.map(Effect.orDie(askAll), () => wasRouted(came))
        )
        yield* Effect.forEach(accounts, (account) =>
          way.ledger.dispatch({ _tag: "Deposit", account, amount: 1n })
        )
        assert.isTrue(wasRouted(came))
        const batch = accounts.flatMap((account) => [
          open(account),
          { ...open(account), commandId: `2-${account}` }
        ])
        const results = yield* way.ledger.dispatchMany(batch)
        assert.deepStrictEqual(
          results.map((result) => (result._tag === "Success" ? "replayed" : result.failure._tag)),
          accounts.flatMap(() => ["replayed", "AccountAlreadyExists"])
        )
        assert.deepStrictEqual(
          came.map((one) => one.length).reduce((sum, one) => sum + one),
          batch.length
        )
        assert.isTrue(wasRouted(came))

        // The shards change hands: the client follows.
        told[0] = { change: 2, rule, owned: [] }
        told[1] = { change: 2, rule, owned: [...sides[0], ...sides[1]] }
        yield* eventually(
          "it follows",
          Effect.map(Effect.orDie(askAll), () => {
            const [one = [], other = []] = came.map((side) => side.splice(0))
            return one.length === 0 && other.length === accounts.length
          })
        )

        // Its owner ends: another node takes the commands, and sends them on where it does not own their accounts.
        yield* doors[1].stop
        yield* Effect.forEach(accounts, (account) =>
          way.ledger.dispatch({ _tag: "Deposit", account, amount: 1n })
        )
        assert.lengthOf(came[0] ?? [], accounts.length)
        yield* door(1, doors[1].port)
        came[0]?.splice(0)
        yield* eventually(
          "it is back",
          Effect.map(Effect.orDie(askAll), () => came[0]?.splice(0).length === 0)
        )
      })
    )
  )

  it.effect("asks any node where it may not know the owners", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { came, urls } = yield* twoDoors([token("reader", ["read"])])
        const way = yield* connect({ urls, token: tokenOf("reader") })
        yield* until("both are connected", () => way.client.nodes().every(({ isConnected }) => isConnected))
        for (const account of accounts) yield* Effect.exit(way.ledger.strongBalance(account))
        assert.deepStrictEqual(
          came.map((one) => one.length),
          [20, 20]
        )
      })
    )
  )
})
