/** The columns of the log's tables, and what a commit writes into them. */
import type { AccountId, CommandId, Version } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { asText, columns, int4, int8, nullable, text, timestamptz } from "../postgres/Columns.ts"
import type { Commit, CommitRow, WriterId } from "./EventStoreTypes.ts"

/** Table `events`. */
export const eventColumns = columns<StoredEvent>({
  accountId: ["account_id", text<AccountId>()],
  version: ["version", int8],
  type: ["type", text()],
  schemaVersion: ["schema_version", int4],
  payload: ["payload", text()],
  commandId: ["command_id", text<CommandId>()],
  ordinal: ["ordinal", int4],
  commandHash: ["command_hash", nullable(text())],
  recordedAt: ["recorded_at", timestamptz],
  effectiveAt: ["effective_at", nullable(timestamptz)],
  context: ["context", nullable(text())],
  hash: ["hash", text()]
})

export const keysToText = (keys: CommitRow["keys"]): string => JSON.stringify(keys)

/** Table `commits`. */
export const commitColumns = columns<CommitRow>({
  writerId: ["writer_id", text<WriterId>()],
  seq: ["seq", int8],
  recordedAt: ["recorded_at", timestamptz],
  rows: ["row_count", int4],
  // What `keysToText` made.
  keys: ["keys", asText(keysToText, (keys) => JSON.parse(keys) as CommitRow["keys"])]
})

/** Table `relay_cursors`: up to which commit each writer's tail was published. */
export const cursorColumns = columns<{ readonly writerId: WriterId; readonly seq: number }>({
  writerId: ["writer_id", text()],
  seq: ["seq", int8]
})

/** What the commit writes into `commits`: the account's versions as ranges, and its latest instant. */
export const toCommitRow = (commit: Commit): CommitRow => {
  const keys: Array<[AccountId, Version, Version]> = []
  const open = new Map<AccountId, [AccountId, Version, Version]>()
  let recordedAt = 0
  for (const event of commit.events) {
    if (event.recordedAt > recordedAt) recordedAt = event.recordedAt
    const range = open.get(event.accountId)
    if (range !== undefined && range[2] === event.version - 1) {
      range[2] = event.version
    } else {
      const next: [AccountId, Version, Version] = [event.accountId, event.version, event.version]
      keys.push(next)
      open.set(event.accountId, next)
    }
  }
  return { writerId: commit.writerId, seq: commit.seq, recordedAt, rows: commit.events.length, keys }
}
