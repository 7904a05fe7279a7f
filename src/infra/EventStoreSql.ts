/** Connections to CockroachDB or PostgreSQL enter; the event store over them leaves. */
import { Effect } from "effect"
import { makeQuery } from "./EventStoreClient.ts"
import { makeCommit } from "./EventStoreCommit.ts"
import { makeReads } from "./EventStoreReads.ts"
import { makeWriters } from "./EventStoreWriters.ts"

export const makeSql = Effect.gen(function* () {
  const query = yield* makeQuery
  return {
    commit: yield* makeCommit(query),
    ...makeReads(query),
    ...makeWriters(query)
  }
})
