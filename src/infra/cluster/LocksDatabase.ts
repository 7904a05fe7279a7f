/**
 * How each part of a member asks the database of the locks: bounded at this end, too. The database's own limit on a statement does not
 * help where it is not reached, and what was sent to a host that died without a word is given up by TCP only after a quarter of an hour.
 */
import { Data, Effect, type Redacted } from "effect"
import type { ClusterLimits } from "../config/ClusterConfig.ts"

type Limits = Pick<ClusterLimits, "lockRefreshMs">

/** How a connection is made and kept; `applicationName` is that of its sessions. */
export const locksConnection = (
  { lockRefreshMs }: Limits,
  url: Redacted.Redacted,
  applicationName: string
) => ({
  url,
  applicationName,
  connectTimeout: lockRefreshMs,
  // Ends an idle connection whose other end is gone.
  keepAlive: "1 second" as const,
  startupParameters: { statement_timeout: String(lockRefreshMs) }
})

/** Opening the connection and the statement itself, each for as long as it may take. */
const answerMs = ({ lockRefreshMs }: Limits): number => 2 * lockRefreshMs

/** Statements by which a node finds, or makes, what it needs there when it starts, about; another node may be at it, too. */
const startStatements = 10

/** The database of the locks did not answer in time: whether it did what it was asked is not known. */
export class LocksSilent extends Data.TaggedError("LocksSilent")<{ readonly ms: number }> {
  override get message() {
    return `the database of the locks did not answer within ${this.ms} ms`
  }
}

const within =
  (ms: number) =>
  <A, E, R>(asked: Effect.Effect<A, E, R>): Effect.Effect<A, E | LocksSilent, R> =>
    Effect.timeoutOrElse(asked, { duration: ms, orElse: () => Effect.fail(new LocksSilent({ ms })) })

/** One statement. Where it is not answered, its connection is dropped, so that the next try makes another. */
export const answeredInTime = (limits: Limits) => within(answerMs(limits))

/** All that a node asks there when it starts. */
export const startedInTime = (limits: Limits) => within(startStatements * answerMs(limits))
