/**
 * Two nodes of a cluster as processes, over PostgreSQL whose log stands still for a while: commits are sent and neither
 * land nor fail, as when a leaseholder died or a disk hangs. What the nodes accepted must be in what they tell and
 * decide afterwards, whatever changed hands meanwhile.
 */
import { PgClient } from "@effect/sql-pg"
import { Deferred, Effect, Exit, Fiber, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import type { Attempt } from "./invariants.ts"
import { type Member, startMember } from "./members.ts"

export interface StandstillServices {
  readonly eventStoreUrl: string
  readonly locksUrl: string
}

/** What was found to be untrue, in words. */
export type Faults = ReadonlyArray<string>

/** So many that, by whatever ports nodes have, each of two has enough of them: of forty one had nine, once in three thousand times. */
const accounts = Array.from({ length: 60 }, (_, index) => `s${index}`)
const amount = "100"
/** Accounts that a scenario uses of each node. */
const few = 10

/** Of 50 ms each: nodes that are started on a machine with much to do take a minute. */
const triesMax = 6_000

const waitFor = Effect.fnUntraced(function* <A>(
  what: string,
  look: Effect.Effect<A>,
  isIt: (found: A) => boolean
) {
  for (let tries = 0; tries < triesMax; tries++) {
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

const isOpen = ({ answer }: Attempt): boolean =>
  answer === "Indeterminate" || answer === "Unavailable" || answer === "Overloaded"

/** Sends the same commands again until each has a definite answer: whether it landed, before or now. */
const sendAgain = (member: Member, commands: ReadonlyArray<Readonly<Record<string, unknown>>>) =>
  waitFor("every command has a definite answer", send(member, commands), (answers) => !answers.some(isOpen))

const isAccepted = ({ answer }: Attempt): boolean => typeof answer !== "string"

/** Where in a commit the log stands still: before it has written anything, between its rows, or before they are durable. */
export const places = ["begin", "middle", "end"] as const
export type Place = (typeof places)[number]

export interface Still {
  readonly millis: number
  readonly place: Place
}

/** What stands still: commits at one of their places, or everything that reads or writes events. */
export type Standing = Place | "reading"

/** Waits for the holder of the lock of this number: a lock that a test can take and leave while a commit runs. */
const gate = `CREATE OR REPLACE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::bigint); RETURN NEW; END $$`

/** The row of `commits` is the last of a commit's statement; a deferred trigger runs when the transaction commits. */
const gates: Readonly<Record<Place, ReadonlyArray<string>>> = {
  begin: [],
  middle: [
    gate,
    "CREATE TRIGGER still_middle BEFORE INSERT ON commits FOR EACH ROW EXECUTE FUNCTION stand_still(4711)"
  ],
  end: [
    gate,
    `CREATE CONSTRAINT TRIGGER still_end AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION stand_still(4712)`
  ]
}

/** Lets PostgreSQL's log stand still for as long as the transaction of this statement lasts. */
const heldByLocks: Readonly<Record<Standing, string>> = {
  begin: "LOCK TABLE commits IN SHARE MODE",
  middle: "SELECT pg_advisory_xact_lock(4711)",
  end: "SELECT pg_advisory_xact_lock(4712)",
  reading: "LOCK TABLE events IN ACCESS EXCLUSIVE MODE"
}

/**
 * CockroachDB has neither such locks nor triggers: there a transaction writes the rows that come next, and whatever would
 * write or read them waits for it. A commit writes its row of `commits` first. No row is written last of all, so the end stands still
 * where the middle does.
 */
const nextCommits = `INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys)
  SELECT w.writer_id, s + coalesce((SELECT max(seq) FROM commits AS c WHERE c.writer_id = w.writer_id), 0), now(), 0, '[]'
  FROM writers AS w, generate_series(1, 40) AS s WHERE w.finished IS NULL`
const nextEvents = `INSERT INTO events
    (account_id, version, type, schema_version, payload, command_id, ordinal, recorded_at, hash)
  SELECT account_id, max(version) + 1, 'Held', 1, '', account_id, 1, now(), '' FROM events GROUP BY account_id`
const heldByRows: Readonly<Record<Standing, string>> = {
  begin: nextCommits,
  middle: nextEvents,
  end: nextEvents,
  reading: nextEvents
}

const isCockroach = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql.unsafe<{ readonly version: string }>("SELECT version() AS version")
  return row?.version.startsWith("CockroachDB") ?? false
})

/** Makes a log able to stand still at these places. */
export const prepareGates = (some: ReadonlyArray<Place>) =>
  Effect.gen(function* () {
    if (yield* isCockroach) return
    const sql = yield* SqlClient.SqlClient
    for (const statement of some.flatMap((place) => gates[place])) yield* sql.unsafe(statement)
  }).pipe(Effect.orDie)

/** Lets the log stand still from when `begun` is run until `over` ends. */
export const holdLog = Effect.fnUntraced(function* (
  what: Standing,
  begun: Effect.Effect<unknown>,
  over: Effect.Effect<unknown>
) {
  const sql = yield* SqlClient.SqlClient
  const statement = ((yield* isCockroach) ? heldByRows : heldByLocks)[what]
  let isHeld = false
  yield* sql
    .withTransaction(
      Effect.gen(function* () {
        yield* sql.unsafe(statement)
        isHeld = true
        yield* begun
        yield* over
        return yield* Effect.fail("over" as const) // which takes back what was written only to stand still
      })
    )
    .pipe(
      // A commit under way wrote the row first: the next ones are others.
      Effect.retry({ times: 100, while: () => !isHeld }),
      Effect.catchIf(
        (error) => error === "over",
        () => Effect.void
      )
    )
})

const clientOf = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })

/** Makes the log able to stand still at this place. */
const prepareStill = ({ eventStoreUrl }: StandstillServices, { place }: Still) =>
  prepareGates([place]).pipe(Effect.provide(clientOf(eventStoreUrl)), Effect.orDie)

/** Lets the log stand still. What this answers lets it go on after so long, counted from when it is run. */
const standStill = Effect.fnUntraced(function* ({ eventStoreUrl }: StandstillServices, what: Standing) {
  const locked = yield* Deferred.make<void>()
  const over = yield* Deferred.make<void>()
  const still = yield* holdLog(what, Deferred.succeed(locked, undefined), Deferred.await(over)).pipe(
    Effect.provide(clientOf(eventStoreUrl)),
    Effect.orDie,
    Effect.forkChild
  )
  yield* Effect.raceFirst(Deferred.await(locked), Fiber.join(still))
  return (millis: number) =>
    Effect.forkChild(
      Effect.sleep(millis).pipe(
        Effect.andThen(Deferred.succeed(over, undefined)),
        Effect.andThen(Fiber.join(still))
      )
    )
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
  const opened = yield* sendAgain(
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
    const [spent] = yield* sendAgain(member, [
      { _tag: "Withdraw", account, amount, commandId: `spend-${account}` }
    ])
    if (spent === undefined || !isAccepted(spent)) {
      faults.push(`${account} was refused its own ${amount}: ${JSON.stringify(spent?.answer)}`)
    }
  }
  return faults
})

const deposit = (account: string) => ({ _tag: "Deposit", account, amount, commandId: `pay-${account}` })

/** Sends the commands, each for itself, and goes on once they are on their way. */
const sendOut = Effect.fnUntraced(function* (
  member: Member,
  commands: ReadonlyArray<Readonly<Record<string, unknown>>>
) {
  // One after another, for a fiber of a concurrent loop would end with its own turn.
  const sent = yield* Effect.forEach(commands, (command) =>
    Effect.forkChild(Effect.exit(send(member, [command])))
  )
  yield* waitFor(
    "the commands are in flight",
    member.ask<{ readonly inFlight: number }>({ _tag: "Stats" }),
    ({ inFlight }) => inFlight > 0
  )
  return sent
})

/** The first fault: transfers over both nodes, whose commits last as long as the log stands still. */
const leasesOutlasted = Effect.fnUntraced(function* (services: StandstillServices, still: Still) {
  const { first, second, ofFirst, ofSecond } = yield* startTwo(services, (account, own) => own.has(account))
  yield* prepareStill(services, still)
  const lasting = yield* standStill(services, still.place)
  const pairs = ofFirst
    .flatMap((from, nth) => (ofSecond[nth] === undefined ? [] : [{ from, to: ofSecond[nth] }]))
    .slice(0, few)
  const transfers = pairs.map(({ from, to }) => ({
    _tag: "Transfer",
    from,
    to,
    amount,
    commandId: `pay-${from}`
  }))
  const sent = yield* sendOut(first, transfers)
  const standing = yield* lasting(still.millis)
  yield* Effect.sleep(still.millis / 2)
  const early = yield* Effect.forEach(
    sent.flatMap((fiber) => fiber.pollUnsafe() ?? []),
    (exit) => exit
  )
  if (early.some((exit) => Exit.isSuccess(exit) && exit.value.some(isAccepted)))
    return yield* Effect.die(new Error("the log did not stand still"))
  yield* Fiber.join(standing)
  yield* Effect.forEach(sent, Fiber.await)
  // A commit that outlasts the deadline of its command is answered without a result: the same id tells whether it landed.
  const again = yield* sendAgain(first, transfers)
  const paid = pairs.flatMap(({ to }, nth) =>
    again[nth] !== undefined && isAccepted(again[nth]) ? [to] : []
  )
  return { accepted: paid.length, faults: yield* judge(second, paid) }
})

/** Each account is asked of the node that owns it. */
const judgeAtOwners = Effect.fnUntraced(function* (
  members: ReadonlyArray<Member>,
  paid: ReadonlyArray<string>
) {
  const owned = yield* waitFor(
    "every account has an owner",
    Effect.forEach(members, ownedBy),
    (all) => all.flat().length === accounts.length
  )
  const faults = yield* Effect.forEach(members, (member, nth) =>
    judge(
      member,
      paid.filter((account) => owned[nth]?.includes(account))
    )
  )
  return faults.flat()
})

/** The second fault: a node joins, and takes over accounts whose commits hang at their former owners. */
const shardsMoved = Effect.fnUntraced(function* (services: StandstillServices, still: Still) {
  const { first, second, ofFirst, start } = yield* startTwo(services, () => false)
  yield* prepareStill(services, still)
  const lasting = yield* standStill(services, still.place)
  const sent = yield* sendOut(first, ofFirst.map(deposit))
  const standing = yield* lasting(still.millis)
  // CockroachDB answers no listing of the writers meanwhile, and a node that waits too long for it ends: then it is started again.
  const third = yield* start("node-2").pipe(
    Effect.catchDefect(Effect.fail),
    Effect.retry({ times: 5 }),
    Effect.orDie
  )
  yield* waitFor("the third node has accounts", ownedBy(third), (owned) => owned.length > 0)
  yield* Fiber.join(standing)
  yield* Effect.forEach(sent, Fiber.await)
  const again = yield* sendAgain(first, ofFirst.map(deposit))
  const paid = ofFirst.filter((_, nth) => again[nth] !== undefined && isAccepted(again[nth]))
  return { accepted: paid.length, faults: yield* judgeAtOwners([first, second, third], paid) }
})

/**
 * The second and the third fault: a node is ended, or killed, while the log has its commits. The other node takes its
 * accounts over, or one of another name does that starts in its place; what it refuses for good does not land.
 */
const accountsTakenOver = Effect.fnUntraced(function* (
  services: StandstillServices,
  still: Still,
  signal: "SIGTERM" | "SIGKILL"
) {
  const { first, second, ofFirst } = yield* startTwo(services, () => false)
  yield* prepareStill(services, still)
  const lasting = yield* standStill(services, still.place)
  const hit = ofFirst.slice(0, few)
  const sent = yield* sendOut(first, hit.map(deposit))
  const standing = yield* lasting(still.millis)
  yield* first.signal(signal)
  yield* waitFor(
    "the other node has all accounts",
    ownedBy(second),
    (owned) => owned.length === accounts.length
  )
  // What needs the deposits: refused for good, or accepted for good.
  const spend = (account: string) => ({ _tag: "Withdraw", account, amount, commandId: `spend-${account}` })
  const spent = yield* send(second, hit.map(spend))
  yield* Fiber.join(standing)
  yield* Effect.forEach(sent, Fiber.await)
  // What has no answer is sent again, to the new owner: it was written once, or is now.
  const again = yield* sendAgain(second, hit.map(deposit))
  const paid = hit.filter((_, nth) => again[nth] !== undefined && isAccepted(again[nth]))
  const faults: Array<string> = []
  if (signal === "SIGTERM") {
    const code = yield* first.ended
    if (code !== 0) faults.push(`the node did not come to its end in order: exit code ${code}`)
  }
  for (const [nth, { answer }] of spent.entries()) {
    const deposited = again[nth]?.answer
    if (answer === "InsufficientFunds" && typeof deposited !== "string" && deposited?.replayed === true)
      faults.push(`${hit[nth]} was refused what a deposit from before had paid`)
  }
  const left = paid.filter((_, nth) => {
    const answer = spent[nth]?.answer
    return typeof answer === "string" && answer !== "Indeterminate"
  })
  return { accepted: paid.length, faults: [...faults, ...(yield* judge(second, left))] }
})

/** The third fault, of an id: the command that hangs at a killed node is sent to the next owner, who refuses it or has it. */
const idsRefused = Effect.fnUntraced(function* (services: StandstillServices, still: Still) {
  const { first, second, ofFirst } = yield* startTwo(services, () => true)
  yield* prepareStill(services, still)
  const lasting = yield* standStill(services, still.place)
  const hit = ofFirst.slice(0, few)
  const spend = (account: string) => ({ _tag: "Withdraw", account, amount, commandId: `once-${account}` })
  const sent = yield* sendOut(first, hit.map(spend))
  const standing = yield* lasting(still.millis)
  yield* first.signal("SIGKILL")
  yield* waitFor(
    "the other node has all accounts",
    ownedBy(second),
    (owned) => owned.length === accounts.length
  )
  // Another command takes the money where the first one has not landed: then that one is refused for good.
  yield* send(
    second,
    hit.map((account) => ({ ...spend(account), commandId: `other-${account}` }))
  )
  const once = yield* send(second, hit.map(spend))
  yield* Fiber.join(standing)
  yield* Effect.forEach(sent, Fiber.await)
  const again = yield* sendAgain(second, hit.map(spend))
  const faults = hit.flatMap((account, nth) => {
    const [before, after] = [once[nth]?.answer, again[nth]?.answer]
    const wasDefinite = before === "InsufficientFunds"
    return wasDefinite && typeof after !== "string"
      ? [`once-${account} was refused for good, and is in the log`]
      : []
  })
  for (const account of hit) {
    const { balance } = yield* second.ask<{ readonly balance: string }>({ _tag: "Head", account })
    if (balance !== "0") faults.push(`${account} has a strong balance of ${balance}, not of 0`)
  }
  return { accepted: again.length, faults }
})

/** The fourth fault: accounts are being read when their shard leaves, are written elsewhere, and come back. */
const readingsOutlived = Effect.fnUntraced(function* (services: StandstillServices, still: Still) {
  const { first, second, start } = yield* startTwo(services, () => false)
  yield* prepareStill(services, still)
  const third = yield* start("node-2")
  const moved = yield* waitFor(
    "the third node has accounts",
    ownedBy(third),
    (owned) => owned.length > 0 && owned.length < accounts.length
  )
  yield* third.signal("SIGTERM")
  yield* waitFor(
    "the others have all accounts again",
    Effect.all([ownedBy(first), ownedBy(second)]),
    ([one, other]) => one.length + other.length === accounts.length
  )
  // They came back a moment ago, so no node has them in memory: the readings begin, and hang.
  const lasting = yield* standStill(services, "reading")
  const readings = yield* Effect.forEach(
    [first, second].flatMap((member) => moved.map((account) => ({ member, account }))),
    ({ member, account }) => Effect.forkChild(Effect.exit(member.ask({ _tag: "Head", account })))
  )
  const standing = yield* lasting(still.millis)
  const fourth = yield* start("node-3")
  const given = yield* waitFor("the fourth node has accounts", ownedBy(fourth), (owned) => owned.length > 0)
  const sent = yield* Effect.forkChild(Effect.exit(send(fourth, given.map(deposit))))
  yield* Fiber.join(standing)
  yield* Fiber.await(sent)
  yield* Effect.forEach(readings, Fiber.await)
  yield* fourth.signal("SIGTERM")
  const again = yield* sendAgain(first, given.map(deposit))
  const paid = given.filter((_, nth) => again[nth] !== undefined && isAccepted(again[nth]))
  return { accepted: paid.length, faults: yield* judgeAtOwners([first, second], paid) }
})

type Scenario = (
  services: StandstillServices,
  still: Still
) => Effect.Effect<
  { readonly accepted: number; readonly faults: Faults },
  never,
  Effect.Services<ReturnType<typeof leasesOutlasted>>
>

/** Every way in which accounts change hands, by what happens. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  "leases outlasted": leasesOutlasted,
  "shards moved to a node that joins": shardsMoved,
  "a node ended": (services, still) => accountsTakenOver(services, still, "SIGTERM"),
  "a node killed": (services, still) => accountsTakenOver(services, still, "SIGKILL"),
  "ids refused by the next owner": idsRefused,
  "readings outlived by a shard that came back": readingsOutlived
}
