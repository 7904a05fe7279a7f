/**
 * Two nodes of a cluster as processes, over PostgreSQL whose log stands still for a while: commits are sent and neither
 * land nor fail, as when a leaseholder died or a disk hangs. What the nodes accepted must be in what they tell and
 * decide afterwards, whatever changed hands meanwhile.
 */
import { PgClient } from "@effect/sql-pg"
import { Deferred, Effect, Fiber, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import type { Attempt } from "./invariants.ts"
import { type Member, startMember } from "./members.ts"

export interface StandstillServices {
  readonly eventStoreUrl: string
  readonly locksUrl: string
}

/** What was found to be untrue, in words. */
export type Faults = ReadonlyArray<string>

const accounts = Array.from({ length: 40 }, (_, index) => `s${index}`)
const amount = "100"
/** Accounts that a scenario uses of each node. */
const few = 10

const waitFor = Effect.fnUntraced(function* <A>(
  what: string,
  look: Effect.Effect<A>,
  isIt: (found: A) => boolean
) {
  for (let tries = 0; tries < 1_200; tries++) {
    const found = yield* look
    if (isIt(found)) return found
    yield* Effect.sleep(50)
  }
  return yield* Effect.die(new Error(`waited in vain until ${what}`))
})

const ownedBy = (member: Member) =>
  Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account }), { concurrency: 20 })

const send = (member: Member, commands: ReadonlyArray<Readonly<Record<string, unknown>>>) =>
  member.ask<ReadonlyArray<Attempt>>({ _tag: "Send", commands })

const isAccepted = ({ answer }: Attempt): boolean => typeof answer !== "string"

/** Locks the log for so long, once `Deferred` it is locked. */
const standStill = Effect.fnUntraced(function* (url: string, millis: number) {
  const locked = yield* Deferred.make<void>()
  const still = yield* Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql.withTransaction(
      Effect.gen(function* () {
        yield* sql`LOCK TABLE commits IN SHARE MODE`
        yield* Deferred.succeed(locked, undefined)
        yield* Effect.sleep(millis)
      })
    )
  }).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })),
    Effect.orDie,
    Effect.forkChild
  )
  yield* Deferred.await(locked)
  return still
})

/** Nodes that share the accounts; each account is open, and has 100 where `isFunded`. */
const startTwo = Effect.fnUntraced(function* (
  services: StandstillServices,
  isFunded: (account: string, ofFirst: ReadonlySet<string>) => boolean
) {
  const start = (name: string) => startMember({ ...services, name })
  const [first, second] = yield* Effect.all([start("node-0"), start("node-1")], { concurrency: 2 })
  const [ofFirst, ofSecond] = yield* waitFor(
    "the accounts are spread over both nodes",
    Effect.all([ownedBy(first), ownedBy(second)]),
    ([one, other]) =>
      Math.min(one.length, other.length) >= few && one.length + other.length === accounts.length
  )
  const own = new Set(ofFirst)
  const opened = yield* send(
    first,
    accounts.flatMap((account) => [
      { _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada", commandId: `open-${account}` },
      ...(isFunded(account, own) ? [{ _tag: "Deposit", account, amount, commandId: `fund-${account}` }] : [])
    ])
  )
  if (!opened.every(isAccepted)) return yield* Effect.die(new Error("the accounts could not be opened"))
  return { first, second, ofFirst, ofSecond, start }
})

/** Each account at the node says what was accepted for it, and lets it be withdrawn. */
const judge = Effect.fnUntraced(function* (member: Member, paid: ReadonlyArray<string>) {
  const faults: Array<string> = []
  for (const account of paid) {
    const { balance } = yield* member.ask<{ readonly balance: string }>({ _tag: "Head", account })
    if (balance !== amount) faults.push(`${account} has a strong balance of ${balance}, not of ${amount}`)
    const [spent] = yield* send(member, [
      { _tag: "Withdraw", account, amount, commandId: `spend-${account}` }
    ])
    if (spent === undefined || !isAccepted(spent)) {
      faults.push(`${account} was refused its own ${amount}: ${JSON.stringify(spent?.answer)}`)
    }
  }
  return faults
})

/** Transfers over both nodes, whose commits last as long as the log stands still. */
export const leasesOutlasted = Effect.fnUntraced(function* (services: StandstillServices, stallMs: number) {
  const { first, second, ofFirst, ofSecond } = yield* startTwo(services, (account, own) => own.has(account))
  const still = yield* standStill(services.eventStoreUrl, stallMs)
  const pairs = ofFirst
    .flatMap((from, nth) => (ofSecond[nth] === undefined ? [] : [{ from, to: ofSecond[nth] }]))
    .slice(0, few)
  const answers = yield* Effect.forEach(
    pairs,
    ({ from, to }) => send(first, [{ _tag: "Transfer", from, to, amount, commandId: `pay-${from}` }]),
    { concurrency: "unbounded" }
  )
  yield* Fiber.join(still)
  const paid = pairs.flatMap(({ to }, nth) => (answers[nth]?.every(isAccepted) ? [to] : []))
  return { accepted: paid.length, faults: yield* judge(second, paid) }
})

/** A node is ended, or killed, while the log has its commits: the other node takes its accounts over. */
export const accountsTakenOver = Effect.fnUntraced(function* (
  services: StandstillServices,
  stallMs: number,
  signal: "SIGTERM" | "SIGKILL"
) {
  const { first, second, ofFirst } = yield* startTwo(services, () => false)
  const still = yield* standStill(services.eventStoreUrl, stallMs)
  const hit = ofFirst.slice(0, few)
  const deposit = (account: string) => ({ _tag: "Deposit", account, amount, commandId: `pay-${account}` })
  const sent = yield* Effect.forEach(
    hit,
    (account) => Effect.forkChild(Effect.exit(send(first, [deposit(account)]))),
    { concurrency: "unbounded" }
  )
  yield* Effect.sleep(200)
  yield* first.signal(signal)
  yield* waitFor(
    "the other node has all accounts",
    ownedBy(second),
    (owned) => owned.length === accounts.length
  )
  yield* Fiber.join(still)
  yield* Effect.forEach(sent, Fiber.await)
  // What has no answer is sent again, to the new owner: it was written once, or is now.
  const again = yield* send(second, hit.map(deposit))
  const paid = hit.filter((_, nth) => again[nth] !== undefined && isAccepted(again[nth]))
  return { accepted: paid.length, faults: yield* judge(second, paid) }
})
