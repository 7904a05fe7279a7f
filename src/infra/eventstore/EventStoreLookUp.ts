/** A commit that met a duplicate key enters; what stands in its way leaves, looked up, never guessed. */
import { PgTypes } from "@effect/sql-pg"
import { Effect } from "effect"
import { int8Value, textArray } from "../postgres/Columns.ts"
import { type Commit, CommitOutcome, type CommitRow, type StoreUnavailable } from "./EventStoreTypes.ts"
import type { Query } from "./SqlClients.ts"
import { eventColumns, keysToText } from "./SqlRows.ts"

const own = `SELECT row_count, keys FROM commits WHERE writer_id = $1 AND seq = $2`

const eventKeys = eventColumns.pick("accountId", "version")
const hashedKeys = eventColumns.pick("accountId", "version", "hash")

/** LATERAL with a LIMIT keeps PostgreSQL from hashing the table. */
const sameEvents = `
  SELECT count(*) FROM ${hashedKeys.unnest("mine")}
  CROSS JOIN LATERAL (
    SELECT e.hash FROM events e WHERE e.account_id = mine.account_id AND e.version = mine.version LIMIT 1
  ) AS found
  WHERE found.hash = mine.hash`

const takenVersions = `
  SELECT ${eventKeys.listOf("found")} FROM ${eventKeys.unnest("mine")}
  CROSS JOIN LATERAL (
    SELECT e.account_id, e.version FROM events e
    WHERE e.account_id = mine.account_id AND e.version = mine.version LIMIT 1
  ) AS found`

const takenCommands = `SELECT command_id FROM events WHERE command_id = ANY($1::text[]) AND ordinal = 0`

/** After a duplicate key: did an earlier sending land, was the writer fenced, or which keys are taken? */
export const lookUp = (query: Query, commit: Commit, row: CommitRow): Effect.Effect<CommitOutcome> =>
  Effect.gen(function* () {
    const [found] = yield* query(own, [PgTypes.text(commit.writerId), int8Value(commit.seq)])
    if (found !== undefined) {
      if (Number(found[0]) === 0) return CommitOutcome.Fenced()
      return yield* proveSame(query, commit, found[1] === keysToText(row.keys))
    }
    yield* dieIfTwice(commit)
    const versions = yield* query(takenVersions, eventKeys.arrays(commit.events))
    const first = commit.events.filter((event) => event.ordinal === 0)
    const commands = yield* query(takenCommands, [textArray(first.map((event) => event.commandId))])
    // Branded ids of this very commit come back.
    const events = new Map(commit.events.map((event) => [`${event.accountId}@${event.version}`, event]))
    const ids = new Map(first.map((event) => [event.commandId as string, event.commandId]))
    return CommitOutcome.Conflict({
      versions: versions.flatMap(([account, version]) => {
        const event = events.get(`${account}@${version}`)
        return event === undefined ? [] : [{ account: event.accountId, version: event.version }]
      }),
      commands: commands.flatMap(([command]) => ids.get(String(command)) ?? [])
    })
  }).pipe(
    // Our own earlier sending may be what stands in the way, so a failed look proves nothing.
    Effect.catch((error: StoreUnavailable) => Effect.succeed(CommitOutcome.Unknown({ reason: error.reason })))
  )

/** Our number is taken by us; that it holds these very events is checked, not assumed. */
const proveSame = Effect.fnUntraced(function* (query: Query, commit: Commit, hasSameKeys: boolean) {
  const [same] = yield* query(sameEvents, hashedKeys.arrays(commit.events))
  if (hasSameKeys && Number(same?.[0]) === commit.events.length) return CommitOutcome.Committed()
  return yield* Effect.die(
    new Error(`writer ${commit.writerId} sent another commit under number ${commit.seq}, which it had used`)
  )
})

/** A commit that is in its own way can never land; sending it again for ever would hide that. */
const dieIfTwice = (commit: Commit): Effect.Effect<void> => {
  const fault = findTwice(commit)
  return fault === undefined ? Effect.void : Effect.die(new Error(fault))
}

/** The first key that stands twice in one commit, in words. */
export const findTwice = (commit: Commit): string | undefined => {
  const seen = new Set<string>()
  for (const event of commit.events) {
    const version = `version ${event.version} of ${event.accountId}`
    const keys = event.ordinal === 0 ? [version, `command ${event.commandId}`] : [version]
    for (const key of keys) {
      if (seen.has(key)) return `${key} stands twice in commit ${commit.seq} of writer ${commit.writerId}`
      seen.add(key)
    }
  }
  return undefined
}
