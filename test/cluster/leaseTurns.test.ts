/** In which order the nodes that want one account have it, and its owner's own commands. */
import { assert, it } from "@effect/vitest"
import { Exit } from "effect"
import { AccountActor, PendingCommand } from "../../src/actors/accounts/Lifecycle.ts"
import { accountsOf } from "../../src/domain/Command.ts"
import { emptyHead } from "../../src/domain/Head.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { deposit, toCommand } from "../support/ledgerWorld.ts"

const id = AccountId.make("a")

/** An account at home, and what has it in turn. */
const account = () => {
  const actor = new AccountActor(id, 0)
  const turns: Array<string> = []
  actor.load(emptyHead(id))
  const ask = (node: string): void =>
    actor.requestLease({ lease: node, grant: () => turns.push(node), refuse: () => turns.push("refused") })
  const wait = (name: string): void => {
    const command = toCommand(deposit("a", 1n))
    actor.wait(new PendingCommand(command, "hash", 5_000, accountsOf(command), () => turns.push(name)))
  }
  const release = (): void => actor.load(actor.committed)
  return { actor, turns, ask, wait, release }
}

it("an account goes to all nodes that asked before it left, and then its own commands have it", () => {
  const { actor, turns, ask, wait, release } = account()
  actor.pin()
  for (const node of ["n1", "n2", "n3"]) ask(node)
  wait("own 1")
  assert.deepStrictEqual(turns, [])
  actor.unpin()
  wait("own 2")
  release()
  release()
  assert.deepStrictEqual(turns, ["n1", "n2", "n3"])
  release()
  assert.deepStrictEqual(turns, ["n1", "n2", "n3", "own 1", "own 2"])
  assert.strictEqual(actor.phase, "ready")
})

it("an account's own commands have it before a node that asked after it left", () => {
  const { turns, ask, wait, release } = account()
  ask("n1")
  wait("own")
  ask("n2")
  release()
  assert.deepStrictEqual(turns, ["n1", "own", "n2"])
  // The next turn begins anew: who asked during the last one was not there when it began.
  wait("own again")
  ask("n3")
  release()
  assert.deepStrictEqual(turns, ["n1", "own", "n2", "own again", "n3"])
})

it("an account whose next node gave up goes home", () => {
  const { actor, turns, ask, wait, release } = account()
  actor.pin()
  ask("n1")
  ask("n2")
  actor.unpin()
  wait("own")
  actor.withdrawLeaseRequest("n2")
  release()
  assert.deepStrictEqual(turns, ["n1", "own"])
  assert.strictEqual(actor.phase, "ready")
})

it("an account that is read again goes to its own commands first", () => {
  const { actor, turns, ask, wait, release } = account()
  actor.pin()
  ask("n1")
  ask("n2")
  actor.unpin()
  wait("own")
  // The lease expired.
  actor.invalidate()
  actor.load(emptyHead(id))
  assert.deepStrictEqual(turns, ["n1", "own", "n2"])
  release()
  assert.strictEqual(actor.phase, "ready")
})

it("readers are told its head between two nodes that have it", () => {
  const { actor, turns, ask, release } = account()
  actor.pin()
  ask("n1")
  ask("n2")
  actor.unpin()
  actor.addReader((head) => turns.push(Exit.isSuccess(head) ? "reader" : "no head"))
  release()
  assert.deepStrictEqual(turns, ["n1", "reader", "n2"])
})
