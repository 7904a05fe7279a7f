/** The limits of simulated nodes: small, so that every bound is met, and everything that waits does so for little virtual time. */
import { Layer } from "effect"
import {
  ClusterConfig,
  type ClusterLimits,
  defaultClusterLimits
} from "../../src/infra/config/ClusterConfig.ts"
import { defaultLimits, LedgerConfig, type LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import {
  defaultReadSideLimits,
  ReadSideConfig,
  type ReadSideLimits
} from "../../src/infra/config/ReadSideConfig.ts"
import { SumPrefixes } from "../../src/infra/config/SumPrefixes.ts"
import { skewMaxMs } from "./Plan.ts"

export const ledgerLimits: LedgerLimits = {
  ...defaultLimits,
  partitions: 2,
  batchRowsMax: 8,
  inFlightMax: 40,
  inFlightPerAccountMax: 12,
  residentsMax: 4,
  idleMs: 100,
  commandDeadlineMs: 400,
  queryDeadlineMs: 400,
  redecideMax: 6,
  snapshotEvery: 4,
  outcomesMax: 6,
  clockSkewMaxMs: skewMaxMs,
  heartbeatMs: 50,
  sweepMs: 400
}

export const clusterLimits: ClusterLimits = {
  ...defaultClusterLimits,
  leaseMs: 150,
  shareMs: 10,
  shareMax: 4,
  retryMs: 5,
  drainMs: 60,
  answerGraceMs: 60,
  askMs: 150
}

export const booksLimits: ReadSideLimits = {
  ...defaultReadSideLimits,
  feedEventsMax: 12,
  noticeMs: 150,
  noticesMax: 3,
  publishEventsMax: 6,
  relayCursorMs: 100,
  orphansMs: 250,
  writerSilentMs: 500,
  backoffMaxMs: 400,
  unackedMax: 6,
  ackWaitMs: 300,
  projectEventsMax: 8,
  togetherMs: 150,
  aloneMsMax: 600,
  handoverMs: 100,
  headsKeptMax: 3,
  sweepGraceMs: 30,
  lostAfterMs: 200,
  sweepCommitsMax: 5,
  verifyHeadsMax: 4,
  tokenPollMs: 20,
  tokenSoonMs: 4,
  pageMax: 7,
  subscribePollMs: 30,
  // The one that follows everything takes its seat as soon as it has caught up.
  subscribeSharedFrom: 1,
  subscribeSharedEventsMax: 20,
  subscribeEventsMax: 6,
  subscribeCommitsMax: 3
}

/** How long a shard's lock lasts without being confirmed. */
export const lockMs = 260

/** Those of a world, of which some differ from world to world. */
export const limitsOf = (own: Partial<LedgerLimits>, ofReadSide: Partial<ReadSideLimits>) =>
  Layer.mergeAll(
    Layer.succeed(LedgerConfig, { ...ledgerLimits, ...own }),
    Layer.succeed(ReadSideConfig, { ...booksLimits, ...ofReadSide }),
    // The sums that are asked for are kept at hand: all that happens to projectors must leave them right.
    Layer.succeed(SumPrefixes, ["acc-"]),
    Layer.succeed(ClusterConfig, clusterLimits)
  )

export const limitsLayer = limitsOf({}, {})
