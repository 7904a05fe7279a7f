/** Nodes that would place accounts otherwise than their cluster does not become members of it. */

import { PgClient } from "@effect/sql-pg"
import { assert, inject, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { agreeOnPlacement, PlacementDiffers } from "../../src/infra/cluster/PlacementAgreement.ts"
import { defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { freshDatabase } from "../support/databases.ts"

const agree = (locksUrl: string, rule: { readonly shards?: number; readonly affinitySegments?: number }) =>
  agreeOnPlacement({ ...defaultClusterLimits, ...rule }, Redacted.make(locksUrl))

it.live("the first node says how accounts are placed, and every later one has to agree", () =>
  Effect.gen(function* () {
    const url = yield* freshDatabase(inject("postgresUrl"))
    yield* Effect.all(
      [1, 2, 3, 4].map(() => agree(url, { affinitySegments: 2 })),
      { concurrency: "unbounded" }
    )
    const whole = yield* Effect.flip(agree(url, {}))
    assert.instanceOf(whole, PlacementDiffers)
    assert.strictEqual(
      whole.message,
      "cannot join the cluster: it places accounts by CHRONICLE_CLUSTER_AFFINITY_SEGMENTS=2 for ever, this node has 64"
    )
    const fewer = yield* Effect.flip(agree(url, { affinitySegments: 2, shards: 60 }))
    assert.match(fewer.message, /CHRONICLE_CLUSTER_SHARDS=120 for ever, this node has 60/)
    yield* agree(url, { affinitySegments: 2 })
  }).pipe(Effect.scoped)
)

it.live("a cluster of before this rule was written down placed accounts by their whole ids", () =>
  Effect.gen(function* () {
    const url = yield* freshDatabase(inject("postgresUrl"))
    yield* Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE chronicle_cluster_tenures (
        shard integer PRIMARY KEY, tenure text NOT NULL, is_clean boolean NOT NULL
      )`
      yield* sql`INSERT INTO chronicle_cluster_tenures VALUES (1, 'life.1', false)`
    }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })))
    const grouped = yield* Effect.flip(agree(url, { affinitySegments: 1 }))
    assert.match(grouped.message, /AFFINITY_SEGMENTS=64 for ever, this node has 1/)
    yield* agree(url, {})
  }).pipe(Effect.scoped)
)
