/** Commits as messages of the bus: no event is lost on the way, and each account's order is kept. */
import { assert, it } from "@effect/vitest"
import { Result } from "effect"
import {
  decodeCommits,
  decodeMessage,
  encodeCommits,
  encodeMessage,
  eventsOf,
  messageIdOf,
  pack
} from "../../src/infra/bus/BusMessage.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"

const ids = Array.from({ length: 20 }, (_, index) => `acc-${index}`)

const roundOf = (writer: EventWriter) =>
  writer.commit(
    ...ids.flatMap((id, index) => [deposit(id, 100n), transfer(id, ids[(index + 1) % ids.length] ?? id, 7n)])
  )

/** Three commits of one writer and one of another between them. */
const commitsOf = () => {
  const writer = new EventWriter("w1")
  const opening = writer.commit(...ids.map((id) => openAccount(id)))
  const first = roundOf(writer)
  const other = new EventWriter("w2").commit(openAccount("b"), deposit("b", 1n))
  return [opening, first, other, roundOf(writer)]
}

it("packing keeps each account's rows together, in order, and loses none", () => {
  const commits = commitsOf()
  for (const bytesMax of [1, 3_000, 1_000_000]) {
    const messages = pack(commits, { partitions: 4, bytesMax })
    const seen = new Map<string, number>()
    for (const row of messages.flatMap(eventsOf)) {
      assert.strictEqual(row.version, (seen.get(row.accountId) ?? 0) + 1)
      seen.set(row.accountId, row.version)
    }
    const rows = commits.reduce((sum, { events }) => sum + events.length, 0)
    assert.strictEqual(messages.flatMap(eventsOf).length, rows)
    if (bytesMax === 1) assert.strictEqual(messages.length, rows)
    else if (bytesMax === 3_000) assert.isAbove(messages.length, 4)
    else assert.strictEqual(messages.length, 4)
  }
})

it("messages of different events have different ids", () => {
  for (const bytesMax of [1, 3_000, 1_000_000]) {
    const ids = pack(commitsOf(), { partitions: 4, bytesMax }).map(messageIdOf)
    assert.strictEqual(new Set(ids).size, ids.length)
  }
})

it("the id of a message of one commit says which, and of several from where to where", () => {
  const [opening, first, other, second] = commitsOf()
  const idOf = (...commits: Parameters<typeof pack>[0]) =>
    pack(commits, { partitions: 1, bytesMax: 1_000_000 }).map(messageIdOf)
  assert.isDefined(opening)
  assert.isDefined(first)
  assert.isDefined(other)
  assert.isDefined(second)
  const placesOf = (ids: ReadonlyArray<string>) => ids.map((id) => id.slice(0, id.lastIndexOf(":")))
  assert.deepStrictEqual(placesOf(idOf(opening)), ["w1:1:0"])
  assert.deepStrictEqual(placesOf(idOf(opening, first, other, second)), ["w1:1-3+w2:1:0"])
})

it("the same commits that are packed beside others have one id only where their messages hold the same events", () => {
  const commits = commitsOf()
  const contents = new Map<string, ReadonlyArray<unknown>>()
  for (const bytesMax of [2_000, 3_000, 4_700, 1_000_000])
    for (let from = 0; from < commits.length; from++)
      for (const some of [commits.slice(from), commits.slice(from).toReversed()])
        for (const message of pack(some, { partitions: 2, bytesMax })) {
          const id = messageIdOf(message)
          const rows = eventsOf(message).map(({ accountId, version }) => `${accountId} ${version}`)
          assert.deepStrictEqual(contents.get(id) ?? rows, rows, id)
          contents.set(id, rows)
        }
})

it("a message is read as it was written", () => {
  for (const message of pack(commitsOf(), { partitions: 4, bytesMax: 3_000 }))
    assert.deepStrictEqual(Result.getOrThrow(decodeMessage(encodeMessage(message))), message)
})

it("commits are read as they were written", () => {
  const commits = commitsOf()
  assert.deepStrictEqual(decodeCommits(encodeCommits(commits)), commits)
})

it("a message of one commit is read as an earlier version of the program wrote it", () => {
  const [opening] = commitsOf()
  const [message] = opening === undefined ? [] : pack([opening], { partitions: 1, bytesMax: 1_000_000 })
  assert.isDefined(message)
  const { partition, parts } = JSON.parse(encodeMessage(message))
  const earlier = JSON.stringify({ partition, ...parts[0] })
  assert.deepStrictEqual(Result.getOrThrow(decodeMessage(earlier)), message)
})

it("a text that is no message is a failure", () => {
  const [message] = pack(commitsOf(), { partitions: 1, bytesMax: 1_000_000 }).map(encodeMessage)
  assert.isDefined(message)
  for (const text of [
    "",
    "null",
    "[]",
    '{"partition":0}',
    '{"partition":0,"parts":[{}]}',
    message.replace(/"acc-0",1/, '"acc-0","1"')
  ])
    assert.isTrue(Result.isFailure(decodeMessage(text)), text.slice(0, 40))
})

it("a text of ids, numbers or instants that no database takes is a failure", () => {
  const [message] = pack(commitsOf(), { partitions: 1, bytesMax: 1_000_000 })
  assert.isDefined(message)
  const change = (path: ReadonlyArray<string | number>, value: unknown): string => {
    const json = JSON.parse(encodeMessage(message))
    let at = json
    for (const step of path.slice(0, -1)) at = at[step]
    at[path.at(-1) ?? ""] = value
    return JSON.stringify(json)
  }
  const row = (column: number) => ["parts", 0, "rows", 0, column]
  for (const [path, ...values] of [
    [["partition"], -1, 0.5],
    [["parts", 0, "writer"], "\0", "w1\0", "", "w".repeat(100_000)],
    [["parts", 0, "seq"], 0, 1.5, 1e300],
    [["parts", 0, "part"], -1, 0.5],
    [row(0), "a\0", "", "a b", "a".repeat(65)],
    [row(1), 0, 1.5, 2 ** 53],
    [row(3), 0, 1e300],
    [row(5), "c\0", ""],
    [row(6), -1, 0.5],
    [row(8), 1.5, 1e300, 8.64e15 + 1, -1],
    [row(9), 1.5, 1e300]
  ] as const)
    for (const value of values)
      assert.isTrue(Result.isFailure(decodeMessage(change(path, value))), `${path.join(".")}: ${value}`)
  assert.deepStrictEqual(Result.getOrThrow(decodeMessage(change(row(9), null))), message)
})
