/** A naive client as a contender: reads the last event of both accounts, decides, inserts the next ones, and retries on a conflict. */
import { randomUUID } from "node:crypto"
import { Effect } from "effect"
import pg from "pg"
import { makeHistogram, recordMs, summarize } from "../../src/loadtest/Meter.ts"
import type { Contender, Kind, Setting } from "./Contender.ts"

const clients = 16

const schema = `
  CREATE TABLE events (
    account_id text NOT NULL, version int8 NOT NULL, command_id text NOT NULL, ordinal int4 NOT NULL,
    amount int8 NOT NULL, balance int8 NOT NULL, payload jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, version), UNIQUE (command_id, ordinal)
  )`

/** Each event carries the balance after it, so that one row of an account is enough, however long its stream. */
const read = `
  SELECT wanted.id, last.version, last.balance FROM unnest($1::text[]) AS wanted(id)
  CROSS JOIN LATERAL (
    SELECT version, balance FROM events WHERE account_id = wanted.id ORDER BY version DESC LIMIT 1
  ) AS last`

const append = `
  INSERT INTO events (account_id, version, command_id, ordinal, amount, balance, payload)
  VALUES ($1, $2, $3, 0, $4, $5, $6), ($7, $8, $3, 1, $9, $10, $11)`

interface Last {
  readonly id: string
  readonly version: string
  readonly balance: string
}

const transfer = async (client: pg.PoolClient, from: string, to: string, amount: bigint): Promise<void> => {
  const commandId = randomUUID()
  for (let tries = 0; ; tries++) {
    const { rows } = await client.query<Last>({ name: "read", text: read, values: [[from, to]] })
    const [sender, receiver] = [rows.find((row) => row.id === from), rows.find((row) => row.id === to)]
    if (sender === undefined || receiver === undefined) throw new Error(`no account ${from} or ${to}`)
    const left = BigInt(sender.balance) - amount
    if (left < 0n) throw new Error(`${from} does not cover ${amount}`)
    const values = [
      ...[
        from,
        BigInt(sender.version) + 1n,
        commandId,
        -amount,
        left,
        JSON.stringify({ to, amount: `${amount}` })
      ],
      ...[to, BigInt(receiver.version) + 1n, amount, BigInt(receiver.balance) + amount],
      JSON.stringify({ from, amount: `${amount}` })
    ]
    try {
      await client.query({ name: "append", text: append, values })
      return
    } catch (error) {
      if (!(error instanceof pg.DatabaseError && ["23505", "40001"].includes(error.code ?? ""))) throw error
      // Exponential backoff with full jitter, without which the clients of a hot account would fail together again.
      const pauseMs = Math.random() * Math.min(50, 2 ** Math.min(tries, 6))
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  }
}

export const makeNaive = Effect.fnUntraced(function* ({ eventDatabase, accounts }: Setting) {
  const url = yield* eventDatabase
  const pool = yield* Effect.acquireRelease(
    Effect.sync(() => new pg.Pool({ connectionString: url, max: clients })),
    (opened) => Effect.promise(() => opened.end())
  )
  yield* Effect.promise(async () => {
    await pool.query(schema)
    await pool.query(
      `INSERT INTO events SELECT 'account-' || g, 1, 'open-' || g, 0, 1000000000000000, 1000000000000000, '{}' FROM generate_series(0, $1::int8 - 1) AS g`,
      [accounts]
    )
    await pool.query("ANALYZE events")
  })
  const run = async (kind: Kind, seconds: number) => {
    const histogram = makeHistogram()
    const start = performance.now()
    const end = start + seconds * 1_000
    const client = async () => {
      const connection = await pool.connect()
      while (performance.now() < end) {
        const from = kind === "hot" ? 0 : Math.floor(Math.random() * accounts)
        const to = (from + 1 + Math.floor(Math.random() * (accounts - 1))) % accounts
        const sentAt = performance.now()
        await transfer(connection, `account-${from}`, `account-${to}`, 1n)
        recordMs(histogram, performance.now() - sentAt)
      }
      connection.release()
    }
    await Promise.all(Array.from({ length: clients }, client))
    const { p99, max } = summarize(histogram)
    const perSecond = histogram.totalCount / ((performance.now() - start) / 1_000)
    return { perSecond, p99Ms: p99, maxMs: max }
  }
  return {
    name: "naive optimistic client",
    note: `Node, ${clients} connections, both legs in one INSERT, again with jitter on a conflict`,
    kinds: ["uniform", "hot"],
    run: (kind, seconds) => Effect.promise(() => run(kind, seconds))
  } satisfies Contender
})
