/** Forgeries whose hashes were computed anew: which of them the audit finds, and which it cannot. */
import { assert, inject, layer } from "@effect/vitest"
import { Effect, Result } from "effect"
import { Audit, type Finding } from "../../src/actors/audit/Audit.ts"
import { type After, absent, afterOf, evolve } from "../../src/domain/Account.ts"
import { genesis, link } from "../../src/domain/HashChain.ts"
import { AccountId, CommandId } from "../../src/domain/Ids.ts"
import { readStored, type StoredEvent } from "../../src/domain/StoredEvent.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { auditWorld, Tampering, tampered } from "../support/auditWorld.ts"

const readRows = (account: string) =>
  Effect.flatMap(EventStore, (store) =>
    store.readStream({ account: AccountId.make(account), after: 0, limit: 100 })
  )

const quote = (value: string | null) => (value === null ? "NULL" : `'${value.replaceAll("'", "''")}'`)
const instant = (value: number | null) => (value === null ? "NULL" : quote(new Date(value).toISOString()))

const valuesOf = (row: StoredEvent) => ({
  account_id: quote(row.accountId),
  version: `${row.version}`,
  type: quote(row.type),
  schema_version: `${row.schemaVersion}`,
  payload: quote(row.payload),
  command_id: quote(row.commandId),
  ordinal: `${row.ordinal}`,
  command_hash: quote(row.commandHash),
  recorded_at: instant(row.recordedAt),
  effective_at: instant(row.effectiveAt),
  context: quote(row.context),
  hash: quote(row.hash)
})

const replaceRow = (row: StoredEvent) =>
  `UPDATE events SET ${Object.entries(valuesOf(row))
    .map(([column, value]) => `${column} = ${value}`)
    .join(", ")} WHERE account_id = ${quote(row.accountId)} AND version = ${row.version}`
const insertRow = (row: StoredEvent) => {
  const values = valuesOf(row)
  return `INSERT INTO events (${Object.keys(values).join(", ")}) VALUES (${Object.values(values).join(", ")})`
}

type Change = (row: StoredEvent) => Partial<StoredEvent>

/** Folds rows, and makes each bind the state that it comes to, where it can be read: a forger knows of that too. */
const makeBinder = (account: string) => {
  let state = absent(AccountId.make(account))
  return (row: StoredEvent): StoredEvent => {
    const event = readStored({
      ...row,
      payload: bindTo(row.payload, { balance: 0n, held: 0n, available: 0n })
    })
    if (Result.isFailure(event)) return row
    state = evolve(state, event.success.event, row.recordedAt)
    return { ...row, payload: bindTo(row.payload, afterOf(state)) }
  }
}
const bindTo = (payload: string, { balance, held, available }: After): string =>
  JSON.stringify({
    ...JSON.parse(payload),
    after: { balance: `${balance}`, held: `${held}`, available: `${available}` }
  })

/** Changes one row and computes its hash anew, and those of all after it unless told not to. */
const forge = Effect.fnUntraced(function* (account: string, version: number, change: Change, isWhole = true) {
  const { log } = yield* Tampering
  const bind = makeBinder(account)
  let previous = genesis
  for (const row of yield* readRows(account)) {
    const bound = bind(row.version === version ? { ...row, ...change(row) } : row)
    const { hash: _, ...unlinked } = isWhole || row.version === version ? bound : row
    const hash =
      row.version === version || (isWhole && row.version > version) ? link(previous, unlinked) : row.hash
    if (row.version >= version) yield* log(replaceRow({ ...unlinked, hash }))
    previous = hash
  }
})

/** A row that follows the account's last one as if the ledger had written it. */
const append = Effect.fnUntraced(function* (account: string, change: Change) {
  const { log } = yield* Tampering
  const rows = yield* readRows(account)
  const bind = makeBinder(account)
  for (const row of rows) bind(row)
  const last = rows.at(-1)
  assert.isDefined(last)
  const { hash, ...row } = last
  const { hash: _, ...unlinked } = bind({ ...last, version: row.version + 1, ...change(last) })
  yield* log(insertRow({ ...unlinked, hash: link(hash, unlinked) }))
})

/** Changes what a row binds, and nothing else. */
const forgeBound = Effect.fnUntraced(function* (account: string, version: number, from: string, to: string) {
  const { log } = yield* Tampering
  let previous = genesis
  for (const row of yield* readRows(account)) {
    const { hash: _, ...unlinked } = row.version === version ? { ...row, ...payload(from, to)(row) } : row
    const hash = link(previous, unlinked)
    if (row.version >= version) yield* log(replaceRow({ ...unlinked, hash }))
    previous = hash
  }
})

const payload = (from: string, to: string) => (row: StoredEvent) => {
  assert.include(row.payload, from)
  return { payload: row.payload.replace(from, to) }
}
const deposited = (commandId: string) => () => ({
  type: "Deposited",
  payload: '{"amount":"5","contra":"external:bank"}',
  commandId: CommandId.make(commandId)
})

const at = (writerId: string, seq: number) => `writer_id = ${quote(writerId)} AND seq = ${seq}`

/** The commit that lists these keys, and the numbers of those that its writer sent after it. */
const commitOf = Effect.fnUntraced(function* (keys: string) {
  const store = yield* EventStore
  for (const { writerId } of yield* store.listWriters) {
    const rows = yield* store.readTail({ writerId, after: 0, limit: 100 })
    const found = rows.find((row) => JSON.stringify(row.keys).includes(keys))
    if (found === undefined) continue
    return { ...found, later: rows.filter(({ seq }) => seq > found.seq).map(({ seq }) => seq) }
  }
  return assert.fail(`no commit lists ${keys}`)
})

const verify = Effect.flatMap(Audit, (audit) => audit.verify())

const assertFirst = Effect.fnUntraced(function* (named: Partial<Finding>, words: RegExp) {
  const { findings, ok } = yield* verify
  assert.deepInclude(findings[0], named)
  assert.match(findings[0]?.reason ?? "", words)
  assert.isFalse(ok)
})

type Forgery = readonly [
  what: string,
  forge: Effect.Effect<void, unknown, Tampering | EventStore>,
  named: Partial<Finding>,
  words: RegExp
]
const inLog = (invariant: Finding["invariant"], account: string, version: number) =>
  ({ invariant, where: "events", account, version }) as const

const forgeries: ReadonlyArray<Forgery> = [
  [
    "a row with its hash computed anew breaks the next one",
    forge("alice", 2, payload("1000", "9000"), false),
    inLog("I5", "alice", 3),
    /hash before it/
  ],
  [
    "the last row with its hash computed anew is not what a snapshot saw, nor the read model",
    forge(
      "dave",
      3,
      (row) => ({ payload: JSON.stringify({ ...JSON.parse(row.payload), reason: "x" }) }),
      false
    ),
    { invariant: "I8", where: "snapshots", account: "dave", version: 3, column: "hash" },
    /hash is/
  ],
  [
    "a transfer changed on one side alone does not fit its counter-leg",
    forge("alice", 3, payload('"100"', '"10"')),
    inLog("I2", "alice", 3),
    /counter-leg bob@2 names another event or another amount/
  ],
  [
    "a transfer sent elsewhere leaves its counter-leg alone",
    forge("alice", 3, payload('"bob"', '"erin"')),
    inLog("I2", "alice", 3),
    /counter-leg erin@2 names another event or another amount/
  ],
  [
    "a leg of a journal changed alone does not fit its head",
    forge("carol", 4, payload('"4"', '"3"')),
    inLog("I2", "alice", 7),
    /counter-leg carol@4/
  ],
  [
    "a journal and one of its legs changed together do not sum to zero",
    Effect.andThen(
      forge("alice", 7, payload('"amount":"4"', '"amount":"3"')),
      forge("carol", 4, payload('"4"', '"3"'))
    ),
    inLog("I2", "alice", 7),
    /sum to -1 minor units of USD\/2/
  ],
  [
    "a journal of one account that does not come to what its contras gave",
    forge("fay", 2, payload('"side":"debit","amount":"5"', '"side":"debit","amount":"4"')),
    inLog("I2", "fay", 2),
    /sum to 1 minor units of USD\/2/
  ],
  [
    "a hold with another id than its command has",
    forge("fay", 3, payload('"hold":"kept"', '"hold":"other"')),
    inLog("I4", "fay", 3),
    /of command other, by what it says, and not of kept/
  ],
  [
    "a reversal of another command than its id says",
    forge("fay", 4, payload('"original":"from-outside"', '"original":"rent"')),
    inLog("I4", "fay", 4),
    /of command ~r1~rent, by what it says, and not of ~r1~from-outside/
  ],
  [
    "a reversal that says it gave back less than it moved",
    forge("fay", 6, payload('{"account":"erin","amount":"2"}', '{"account":"erin","amount":"1"}')),
    inLog("I2", "fay", 6),
    /that erin gave back, or got, is not what the events of the reversal moved/
  ],
  [
    "a reversal that says it gave more to a contra than it did",
    forge("fay", 4, payload('"external:card","amount":"1"', '"external:card","amount":"2"')),
    inLog("I2", "fay", 4),
    /that external:card gave back, or got, is not what the events of the reversal moved/
  ],
  [
    "a withdrawal beyond the balance",
    forge("alice", 5, payload('"20"', '"99999"')),
    inLog("I3", "alice", 5),
    /below minus the overdraft limit/
  ],
  [
    "a balance that a row binds without its events coming to it",
    forgeBound("alice", 5, '"balance":"830"', '"balance":"930"'),
    inLog("I5", "alice", 5),
    /it says balance 930 after it, where the events up to it come to 830 minor units/
  ],
  [
    "an instant before the one before",
    forge("alice", 4, (row) => ({ recordedAt: row.recordedAt - 86_400_000 })),
    inLog("I5", "alice", 4),
    /recorded before/
  ],
  [
    "a leg with an instant of its own",
    forge("bob", 2, (row) => ({ effectiveAt: row.recordedAt - 5 })),
    inLog("I2", "alice", 3),
    /counter-leg bob@2 has another time/
  ],
  [
    "a schema version that does not exist",
    forge("alice", 2, () => ({ schemaVersion: 9 })),
    inLog("I5", "alice", 2),
    /newer/
  ],
  [
    "a leg of another command",
    forge("bob", 2, () => ({ commandId: CommandId.make("other") })),
    inLog("I4", "alice", 3),
    /belongs to command other/
  ],
  [
    "a leg with another ordinal",
    forge("bob", 2, () => ({ ordinal: 5 })),
    inLog("I4", "alice", 3),
    /ordinal 5/
  ],
  [
    "a deposit without its command's hash",
    forge("alice", 2, () => ({ commandHash: null })),
    inLog("I4", "alice", 2),
    /hash of the command/
  ],
  [
    "an account that changed its asset does not fit the accounts it dealt with",
    forge("alice", 1, payload("USD/2", "EUR/2")),
    inLog("I2", "alice", 3),
    /moves EUR\/2, its counter-leg bob@2 USD\/2/
  ],
  [
    "a row inserted by hand stands in no commit",
    append("dave", deposited("forged")),
    inLog("I4", "dave", 4),
    /no commit of a known writer lists it/
  ],
  [
    "a versionless account made by hand",
    Effect.flatMap(Tampering, ({ log }) =>
      log(
        "INSERT INTO events SELECT 'zed', version + 1, type, schema_version, payload, 'zed', 1, NULL, recorded_at, effective_at, context, hash FROM events WHERE account_id = 'dave' AND version = 2"
      )
    ),
    inLog("I1", "zed", 1),
    /missing, the next one is 3/
  ],
  [
    "a commit that lists what another one wrote",
    Effect.flatMap(Tampering, ({ log }) =>
      log(`UPDATE commits SET keys = replace(keys, '"dave",3,3', '"dave",2,2')`)
    ),
    { invariant: "I4", where: "commits", account: "dave", version: 2 },
    /as another commit does/
  ]
]

const suite = (name: string, url: string) =>
  layer(auditWorld(url, inject("postgresUrl")), { excludeTestServices: true, timeout: "4 minutes" })(
    `an audit of forgeries (${name})`,
    (it) => {
      for (const [what, forgery, named, words] of forgeries) {
        it.effect(what, () => tampered(Effect.andThen(forgery, assertFirst(named, words))))
      }

      it.effect("a command that is there twice, without the unique key", () =>
        tampered(
          Effect.gen(function* () {
            const { log } = yield* Tampering
            yield* log("DROP INDEX events_command CASCADE")
            yield* append("dave", deposited("rent"))
            const { findings } = yield* verify
            const twice = findings.filter((one) => /its command rent leads to/.test(one.reason))
            assert.strictEqual(twice.length, 1)
            assert.strictEqual(twice[0]?.invariant, "I4")
          })
        ).pipe(
          Effect.ensuring(
            Effect.flatMap(Tampering, ({ log }) =>
              log("CREATE UNIQUE INDEX events_command ON events (command_id) WHERE ordinal = 0")
            )
          )
        )
      )

      // The limits of an audit without signatures, as its docstring tells them.
      it.effect("a deposit changed with its whole chain is found only by snapshots and read model", () =>
        tampered(
          Effect.gen(function* () {
            const { log, books } = yield* Tampering
            yield* forge("alice", 2, payload("1000", "9000"))
            const { findings } = yield* verify
            assert.deepStrictEqual(
              [...new Set(findings.map((one) => one.where))],
              ["snapshots", "read model"]
            )
            assert.isTrue(findings.some((one) => one.account === "alice" && one.column === "balance"))
            yield* log("DELETE FROM snapshots")
            for (const table of ["balances", "statement_lines", "transfers", "contra", "holds"]) {
              yield* books(`DELETE FROM books_v1_${table}`)
            }
            assert.isTrue((yield* verify).ok)
          })
        )
      )

      it.effect("the end of a history without its commit is found only by snapshots and read model", () =>
        tampered(
          Effect.gen(function* () {
            const { log, books } = yield* Tampering
            yield* log("DELETE FROM events WHERE account_id = 'dave' AND version = 3")
            const commit = yield* commitOf('"dave",3,3')
            yield* log(
              `DELETE FROM commits WHERE ${at(commit.writerId, commit.seq)}`,
              ...commit.later.map(
                (seq) => `UPDATE commits SET seq = ${seq - 1} WHERE ${at(commit.writerId, seq)}`
              ),
              `UPDATE writers SET fenced_at_seq = fenced_at_seq - 1 WHERE writer_id = ${quote(commit.writerId)}`
            )
            const { findings } = yield* verify
            assert.deepStrictEqual(
              [...new Set(findings.map((one) => one.where))],
              ["snapshots", "read model"]
            )
            yield* log("DELETE FROM snapshots")
            for (const table of ["balances", "statement_lines", "transfers", "contra", "holds"]) {
              yield* books(`DELETE FROM books_v1_${table}`)
            }
            assert.isTrue((yield* verify).ok)
          })
        )
      )
    }
  )

suite("PostgreSQL", inject("postgresUrl"))
const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL
if (cockroachUrl !== undefined) suite("CockroachDB", cockroachUrl)
