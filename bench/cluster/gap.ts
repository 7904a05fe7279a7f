/**
 * How long accounts are without service when their node ends, is killed, or freezes: `node bench/cluster/gap.ts
 * [SIGTERM,SIGKILL,SIGSTOP] [accounts] [transfers]`. Three nodes, each a process; every account gets one deposit after another through
 * the nodes that stay, and each of these has so many transfers between any two of the accounts under way (none by default). Each node in turn gets the signal, and comes back before the next one does. The longest time between two
 * answers is counted for each account, as it is for as long without any signal. A line of JSON for each.
 */
import { Effect, Scope } from "effect"
import type { Attempt } from "../../test/support/invariants.ts"
import { type Member, startMember } from "../../test/support/members.ts"
import { eventually } from "../../test/support/waiting.ts"
import { run, startStores, urlsOf } from "./Script.ts"

const signals = (process.argv[2] ?? "SIGTERM,SIGKILL,SIGSTOP").split(",") as ReadonlyArray<NodeJS.Signals>
const accounts = Array.from({ length: Number(process.argv[3] ?? 36) }, (_, index) => `g${index}`)
const transfers = Number(process.argv[4] ?? 0)
const names = ["node-0", "node-1", "node-2"]
const pauseMs = 50
/** A measurement is over once every account was served again, and again for so long. */
const calmMs = 2_000
const undisturbedMs = 10_000

/** Sends deposits to every account, one after another each, until the scope ends. `served`: when each was answered. */
const callers = Effect.fnUntraced(function* (through: ReadonlyArray<Member>, prefix: string) {
  const served = new Map(accounts.map((account) => [account, [performance.now()]]))
  let turn = 0
  const send = (account: string, commandId: string) =>
    Effect.suspend(() => {
      const member = through[turn++ % through.length]
      if (member === undefined) return Effect.die(new Error("no node stays"))
      return Effect.map(
        member.ask<ReadonlyArray<Attempt>>({
          _tag: "Send",
          commands: [{ _tag: "Deposit", account, amount: "1", commandId }]
        }),
        ([attempt]) => attempt !== undefined && typeof attempt.answer !== "string"
      )
    })
  const caller = Effect.fnUntraced(function* (account: string) {
    for (let nth = 0; ; nth++) {
      yield* Effect.repeat(send(account, `${prefix}-${account}-${nth}`), { until: (isServed) => isServed })
      served.get(account)?.push(performance.now())
      yield* Effect.sleep(pauseMs)
    }
  })
  yield* Effect.forkScoped(Effect.forEach(accounts, caller, { concurrency: "unbounded", discard: true }))
  let storms = 0
  const transfer = (member: Member) =>
    Effect.suspend(() => {
      const seed = ++storms
      const storm = {
        accounts: accounts.length,
        shape: "pairs",
        seconds: 1,
        concurrency: transfers,
        seed
      } as const
      return member.ask({ _tag: "Storm", storm: { ...storm, prefix: "g", ids: `${prefix}-t` } })
    })
  if (transfers > 0)
    yield* Effect.forkScoped(
      Effect.forEach(through, (member) => Effect.forever(transfer(member)), { concurrency: "unbounded" })
    )
  return served
})

const longestGap = (times: ReadonlyArray<number>, from: number): number => {
  let [longest, last] = [0, from]
  for (const time of times) {
    if (time <= from) continue
    longest = Math.max(longest, time - last)
    last = time
  }
  return Math.round(longest)
}

const summary = (gaps: ReadonlyArray<number>) => {
  const sorted = gaps.toSorted((a, b) => a - b)
  return { medianMs: sorted[sorted.length >> 1] ?? 0, worstMs: sorted.at(-1) ?? 0 }
}

const ownedBy = (member: Member) =>
  Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account }), { concurrency: 20 })

const isSpread = (members: ReadonlyArray<Member>) =>
  eventually(
    "every account has an owner, and every node accounts",
    Effect.map(
      Effect.forEach(members, ownedBy),
      (all) => all.flat().length === accounts.length && all.every((owned) => owned.length > 0)
    )
  )

const program = Effect.gen(function* () {
  const urls = urlsOf(yield* startStores())
  const parent = yield* Effect.scope
  const start = Effect.fnUntraced(function* (name: string) {
    const scope = yield* Scope.fork(parent)
    return { scope, ...(yield* Scope.provide(startMember({ ...urls, name }), scope)) }
  })
  const members = yield* Effect.forEach(names, start, { concurrency: "unbounded" })
  yield* isSpread(members)
  const [first] = members
  if (first === undefined) return
  yield* first.ask({
    _tag: "Send",
    commands: accounts.map((account) => ({
      _tag: "OpenAccount",
      account,
      asset: "USD/2",
      owner: "Ada",
      commandId: `open-${account}`
    }))
  })
  yield* Effect.gen(function* () {
    const served = yield* callers(members, "undisturbed")
    yield* Effect.sleep(calmMs)
    const from = performance.now()
    yield* Effect.sleep(undisturbedMs)
    const gaps = accounts.map((account) => longestGap(served.get(account) ?? [], from))
    console.log(JSON.stringify({ signal: "none", accounts: accounts.length, ...summary(gaps) }))
  }).pipe(Effect.scoped)

  for (const signal of signals) {
    const worst: Array<number> = []
    for (const [index, name] of names.entries()) {
      const victim = members[index]
      if (victim === undefined) continue
      const stay = members.filter((member) => member !== victim)
      const owned = new Set(yield* ownedBy(victim))
      const { of, elsewhere } = yield* Effect.gen(function* () {
        const served = yield* callers(stay, `${signal}-${index}`)
        yield* Effect.sleep(calmMs)
        const from = performance.now()
        yield* victim.signal(signal)
        const lastOf = (account: string) => served.get(account)?.at(-1) ?? 0
        const isServed = Effect.map(
          Effect.all(stay.map(ownedBy)),
          (all) => all.flat().length === accounts.length
        )
        yield* eventually("the others have all accounts", isServed)
        const since = performance.now()
        yield* eventually(
          "every account is served",
          Effect.sync(() => accounts.every((account) => lastOf(account) > since + calmMs))
        )
        const gapOf = (account: string) => longestGap(served.get(account) ?? [], from)
        return {
          of: accounts.filter((account) => owned.has(account)).map(gapOf),
          elsewhere: accounts.filter((account) => !owned.has(account)).map(gapOf)
        }
      }).pipe(Effect.scoped)
      worst.push(...of)
      console.log(
        JSON.stringify({
          signal,
          node: name,
          accounts: of.length,
          ...summary(of),
          elsewhereMs: summary(elsewhere).worstMs
        })
      )
      if (signal === "SIGSTOP") yield* victim.signal("SIGCONT")
      else {
        yield* victim.ended
        members[index] = yield* start(name)
      }
      yield* isSpread(members)
    }
    console.log(JSON.stringify({ signal, accounts: worst.length, ...summary(worst) }))
  }
})

run(program)
