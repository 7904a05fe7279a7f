/** What a page of 50 lines costs anywhere in a long account, compared with a short one. */
import { Effect } from "effect"
import { Queries } from "../../src/infra/readmodel/Queries.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { accountId } from "../../test/support/storedEvents.ts"
import { say, target, timed, whole } from "./Targets.ts"

const shortLines = 100
const pageLines = 50
const asks = 200
const rounds = 5
/** Allows for some more levels of an index, and for the noise of the machine. */
const ratioMax = 2

const fill = Effect.fnUntraced(function* (id: string, lines: number) {
  const sql = yield* ReadModelSql
  yield* sql.unsafe(
    `INSERT INTO books_v1_balances VALUES ('${id}', ${lines}, 'open', 'USD/2', 'x', 0, 0, '{}', now(), 'h')`
  )
  for (let from = 1; from <= lines; from += 100_000) {
    yield* sql.unsafe(`INSERT INTO books_v1_statement_lines
      SELECT '${id}', g, 'Deposited', 1, g, 'USD/2', 'external:bank', NULL, 'c-' || g, to_timestamp(g), to_timestamp(g)
      FROM generate_series(${from}::int8, ${Math.min(lines, from + 99_999)}::int8) AS g`)
  }
})

const pages = Effect.fnUntraced(function* (id: string, lines: number, byTime: boolean) {
  const queries = yield* Queries
  const page = (index: number) => {
    const place = Math.floor((((index * 7_919) % 100) / 100) * (lines - pageLines))
    const where = byTime ? { from: (place + 1) * 1_000 } : { cursor: String(place) }
    return queries.statement(accountId(id), { limit: pageLines, ...where })
  }
  const all = Effect.forEach(Array.from({ length: asks }), (_, index) => page(index))
  const { value, ms } = yield* timed(all)
  if (value.some((found) => found.rows.length !== pageLines)) {
    return yield* Effect.die(new Error("a page was not full"))
  }
  return ms / asks
})

export const measurePaging = Effect.fnUntraced(function* (longLines: number) {
  const sql = yield* ReadModelSql
  const kinds = [shortLines, longLines].map((lines) => ({ lines, id: `pages-${lines}` }))
  for (const { id, lines } of kinds) yield* fill(id, lines)
  yield* sql.unsafe("ANALYZE books_v1_statement_lines")
  const targets = []
  for (const byTime of [false, true]) {
    const best = new Map<number, number>()
    for (let round = 0; round <= rounds; round++) {
      for (const { id, lines } of kinds) {
        const ms = yield* pages(id, lines, byTime)
        // The first round warms up. Of the others the best counts, which other work of the machine has disturbed least.
        if (round > 0) best.set(lines, Math.min(ms, best.get(lines) ?? ms))
      }
    }
    const [short = 0, long = 0] = kinds.map(({ lines }) => best.get(lines))
    const what = byTime ? "from an instant" : "after a cursor"
    yield* say(
      `page ${what}: ${short.toFixed(2)} ms of ${shortLines} lines, ${long.toFixed(2)} ms of ${longLines}`
    )
    targets.push(
      target(
        `page of ${pageLines} lines ${what}, ${whole(longLines)} lines against ${shortLines}`,
        (long / short).toFixed(2),
        `<= ${ratioMax}`,
        long / short <= ratioMax
      )
    )
  }
  return targets
})
