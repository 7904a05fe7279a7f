/** What is told of a failed statement: all of it to logs, and to callers nothing of where the database is, whom it knows and what it holds. */
import { assert, describe, it } from "@effect/vitest"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { isLasting, isOfRows, troubleOf } from "../../src/infra/postgres/SqlState.ts"

const errorOf = (message: string, fields: object): Error => Object.assign(new Error(message), fields)
const lost = (cause: Error, operation: string) =>
  new SqlError({ reason: new ConnectionError({ cause, operation }) })
const refused = (message: string, code: string, detail?: string) =>
  new SqlError({
    reason: new UnknownError({
      cause: errorOf(message, { severity: "ERROR", code, detail }),
      operation: "query"
    })
  })

const cases = [
  [
    lost(errorOf("connect ECONNREFUSED 10.0.0.5:5432", { code: "ECONNREFUSED" }), "connect"),
    "cannot connect: connect ECONNREFUSED 10.0.0.5:5432",
    "cannot connect (ECONNREFUSED)"
  ],
  [
    lost(errorOf("getaddrinfo ENOTFOUND db.internal", { code: "ENOTFOUND" }), "connect"),
    "cannot connect: getaddrinfo ENOTFOUND db.internal",
    "cannot connect (ENOTFOUND)"
  ],
  [
    lost(new Error("Connection timed out"), "connect"),
    "cannot connect: Connection timed out",
    "cannot connect"
  ],
  [lost(new Error("Connection closed"), "query"), "Connection closed", "the connection was lost"],
  [
    lost(errorOf("read ECONNRESET", { code: "ECONNRESET" }), "query"),
    "read ECONNRESET",
    "the connection was lost (ECONNRESET)"
  ],
  [
    refused('password authentication failed for user "ledger"', "28P01"),
    'password authentication failed for user "ledger" (28P01)',
    "it refused the login (28P01)"
  ],
  [
    refused("duplicate key", "23505", "Key (account_id)=(alice) already exists."),
    "duplicate key (23505; Key (account_id)=(alice) already exists.)",
    "it refused a row (23505)"
  ],
  [
    refused("terminating connection due to administrator command", "57P01"),
    "terminating connection due to administrator command (57P01)",
    "it is starting or shutting down (57P01)"
  ],
  [
    refused("canceling statement due to statement timeout", "57014"),
    "canceling statement due to statement timeout (57014)",
    "it cancelled a statement (57014)"
  ],
  [refused("no words for it", "HV000"), "no words for it (HV000)", "it refused a statement (HV000)"]
] as const

describe("a failed statement", () => {
  it.each(cases)("is told to callers in words of our own: %#", (error, forLogs, forCallers) => {
    assert.deepStrictEqual(troubleOf(error), { reason: forCallers, detail: forLogs })
  })
})

describe("what a server says", () => {
  it.each(["22021", "54000", "58P01", "58P02", "58030", "XX001", "XX002"])("is of the rows: %s", (state) => {
    assert.deepStrictEqual([isOfRows(state), isLasting(state)], [true, true])
  })

  it.each(["42501", "28P01", "3D000", "42P01", "58000", "XX000"])(
    "lasts, and is not of the rows: %s",
    (state) => {
      assert.deepStrictEqual([isOfRows(state), isLasting(state)], [false, true])
    }
  )

  it.each([undefined, "08006", "40001", "53300", "55P03", "57P01", "58C00", "58C01", "XXUUU"])(
    "may pass: %s",
    (state) => {
      assert.deepStrictEqual([isOfRows(state), isLasting(state)], [false, false])
    }
  )
})

it("a store that is away tells logs more than callers", () => {
  const away = new StoreUnavailable({ store: "event store", reason: "cannot connect", detail: "at 10.0.0.5" })
  assert.strictEqual(away.message, "event store: at 10.0.0.5")
  assert.strictEqual(new StoreUnavailable({ store: "bus", reason: "away" }).message, "bus: away")
})
