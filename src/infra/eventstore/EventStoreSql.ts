/** Connections to CockroachDB or PostgreSQL enter; the event store over them leaves. */
import { Effect } from "effect"
import { makeQuery } from "./SqlClients.ts"
import { makeCommit } from "./SqlCommit.ts"
import { makeReads } from "./SqlReads.ts"
import { makeWriters } from "./SqlWriters.ts"

export const makeSql = Effect.gen(function* () {
  const query = yield* makeQuery
  return {
    commit: yield* makeCommit(query),
    ...makeReads(query),
    ...makeWriters(query)
  }
})
