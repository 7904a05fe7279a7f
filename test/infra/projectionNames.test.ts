/** The names that a projection of a host may have for itself and for its tables. */
import { readdirSync, readFileSync } from "node:fs"
import { assert, it } from "@effect/vitest"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import { isProjection, projectionFault, tablesOf } from "../../src/infra/readmodel/Projection.ts"

const host = { name: "host", version: 1, tables: ["own"], write: () => [] }

const reserved = ["balances", "swept", "parked_accounts", "skipped", "checkpoints", "sum_prefixes"]

const migrations = new URL("../../migrations/read-model/", import.meta.url)

/** The tables of the books that the migrations make, without prefix. */
const migrated = readdirSync(migrations)
  .flatMap((file) => [
    ...readFileSync(new URL(file, migrations), "utf8").matchAll(
      /CREATE TABLE (?:IF NOT EXISTS )?books_v1_(?!next_)(\w+)/g
    )
  ])
  .map(([, table = ""]) => table)

it("a projection has a name, tables and a way to write them", () => {
  assert.isTrue(isProjection(host))
  assert.isTrue(isProjection({ ...host, tables: [] }))
  for (const value of [
    undefined,
    {},
    { ...host, name: "Host" },
    { ...host, version: 1.5 },
    { ...host, version: -1 },
    { ...host, version: 1e21 },
    { ...host, write: 1 }
  ])
    assert.isFalse(isProjection(value))
})

it("a projection of a host can have no name that the ledger uses", () => {
  assert.match(projectionFault({ ...host, name: "books", version: 2 }) ?? "", /"books" is reserved/)
  for (const table of [...reserved, "next_own", "old_own"]) {
    assert.match(projectionFault({ ...host, tables: ["own", table] }) ?? "", /reserved/, table)
    assert.isFalse(isProjection({ ...host, tables: ["own", table] }))
  }
})

it("a projection has no table whose name a rebuild would make longer than PostgreSQL keeps, and none twice", () => {
  const name = "a".repeat(31)
  const longest = "t".repeat(63 - `${name}_v12_next_`.length)
  const of = (...tables: ReadonlyArray<string>) => projectionFault({ ...host, name, version: 12, tables })
  assert.isUndefined(of(longest))
  assert.match(of("own", `${longest}t`) ?? "", /longer than 22 characters.*a rebuild makes a+_v12_next_t+$/)
  assert.match(of("own", "other", "own") ?? "", /"own" is there twice/)
  // Those that it has without being asked fit below every name and version.
  for (const table of reserved) assert.isAtMost(`${name}_v999999999_next_${table}`.length, 63, table)
})

it("every table that the migrations make for the books is their own, or reserved in each projection", () => {
  assert.isAbove(migrated.length, 10)
  const isReserved = (table: string) => !isProjection({ ...host, tables: [table] })
  assert.sameMembers(migrated.filter(isReserved), reserved)
  for (const table of migrated) assert.isTrue(isReserved(table) || books.tables.includes(table), table)
  // A rebuild exchanges all of them but the one that says how far the bus was read.
  assert.sameMembers(["checkpoints", ...tablesOf(books)], [...new Set(migrated)])
})
