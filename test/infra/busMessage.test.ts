/** Commits as messages of the bus: no event is lost on the way, and each account's order is kept. */
import { assert, it } from "@effect/vitest"
import { pack } from "../../src/infra/bus/BusMessage.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"

const ids = Array.from({ length: 20 }, (_, index) => `acc-${index}`)

it("packing keeps each account's rows together, in order, and loses none", () => {
  const commit = new EventWriter().commit(
    ...ids.map((id) => openAccount(id)),
    ...ids.flatMap((id, index) => [deposit(id, 100n), transfer(id, ids[(index + 1) % ids.length] ?? id, 7n)])
  )
  const messages = pack(commit, { partitions: 4, bytesMax: 3_000 })
  assert.isAbove(messages.length, 4)
  const seen = new Map<string, number>()
  for (const row of messages.flatMap((message) => message.events)) {
    assert.strictEqual(row.version, (seen.get(row.accountId) ?? 0) + 1)
    seen.set(row.accountId, row.version)
  }
  assert.strictEqual(messages.flatMap((message) => message.events).length, commit.events.length)
})
