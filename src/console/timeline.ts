/** The points of an account's timeline: all lines of a short account, and of a long one so many of its versions, evenly spread. */
import { type Answer, answered, apiPath, ask, askAll, mapAnswer } from "./api.ts"
import { type Point, sampledVersions, settled } from "./points.ts"
import type { Account, Statement } from "./wire.ts"

export interface Timeline {
  readonly points: ReadonlyArray<Point>
  /** Every how many versions there is a point; 1 where nothing is left out between them. */
  readonly every: number
  /** How many lines there are points for where more follow them. */
  readonly firstLines: number | undefined
}

/** Lines of one page, and versions of a long account: each of these is a read of the log. */
const linesMax = 1_000
const samplesMax = 60

export type Axis = "recorded" | "effective"

const ofLines = async (account: string, axis: Axis, signal: AbortSignal): Promise<Answer<Timeline>> => {
  const path = apiPath(["v1", "accounts", account, "statement"], { axis, limit: linesMax })
  return mapAnswer(await ask<Statement>(path, signal), ({ next, rows }) => ({
    every: 1,
    firstLines: typeof next === "string" ? rows.length : undefined,
    points: settled(
      rows.map((line) => ({
        at: axis === "recorded" ? line.recordedAt : line.effectiveAt,
        balance: BigInt(line.balance)
      }))
    )
  }))
}

const ofVersions = async (
  account: string,
  version: number,
  signal: AbortSignal
): Promise<Answer<Timeline>> => {
  const paths = sampledVersions(version, samplesMax).map((one) =>
    apiPath(["v1", "accounts", account], { version: one })
  )
  const answers = await askAll<Account>(paths, signal)
  const failure = answers.find((answer) => answer._tag === "Failed")
  if (failure !== undefined) return failure
  return {
    _tag: "Ok",
    value: {
      every: Math.round(version / samplesMax),
      firstLines: undefined,
      points: settled(
        answered(answers).map(({ recordedAt, balance }) => ({ at: recordedAt, balance: BigInt(balance) }))
      )
    }
  }
}

/** By effective time there are no versions to choose from: a long account has the first lines alone there. */
export const loadTimeline = (
  account: string,
  version: number,
  axis: Axis,
  signal: AbortSignal
): Promise<Answer<Timeline>> =>
  version <= linesMax || axis === "effective"
    ? ofLines(account, axis, signal)
    : ofVersions(account, version, signal)
