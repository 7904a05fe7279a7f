/**
 * The cluster of a simulated world: who holds which shard of accounts, what each node believes of that, and the messages between
 * nodes. It keeps the promises of the real one: a lock that is not confirmed expires, a node that left a shard in order says so, and
 * who is frozen learns of its loss only afterwards.
 */
import { Effect } from "effect"
import { NotMine, type Placing } from "../../src/actors/accounts/Placement.ts"
import type { LocalNode } from "../../src/actors/commands/LocalNode.ts"
import type { SingletonHost } from "../../src/actors/relay/Singletons.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { allShards } from "../../src/domain/Shard.ts"
import { requestLeaseOf } from "../support/leaseRequests.ts"
import { Domain, type Kernel } from "./Kernel.ts"
import { lockMs } from "./limits.ts"
import type { Counts, Weather } from "./Outside.ts"
import type { Plan } from "./Plan.ts"

type Local = LocalNode["Service"]

interface Shard {
  holder: Member | undefined
  untilMs: number
  /** Its last holder left with nothing of its accounts on the way to the store. */
  isClean: boolean
  /** The node that is to hold it, where that lives. */
  wantedBy: number
}

interface Place {
  readonly begin: Effect.Effect<() => Effect.Effect<void>>
  end: (() => Effect.Effect<void>) | undefined
}

const undelivered = "undelivered"
const peerSlowMs = 40

/** One life of a node, as the others see it and as it sees itself. */
export class Member {
  readonly index: number
  readonly domain: Domain
  readonly owned = new Set<number>()
  /** Shards that it takes for its own though another node has their locks. */
  readonly imposed = new Set<number>()
  readonly places = new Map<string, Place>()
  local: Local | undefined
  certainUntilMs = 0
  confirmedAtMs: number

  constructor(index: number, domain: Domain, nowMs: number) {
    this.index = index
    this.domain = domain
    this.confirmedAtMs = nowMs
  }
}

export class Cluster {
  readonly shards: ReadonlyArray<Shard>
  readonly #locks: Domain
  readonly #kernel: Kernel
  readonly #weather: Weather
  readonly #counts: Counts
  readonly #confirmMs: number
  #members: Array<Member> = []

  constructor(kernel: Kernel, weather: Weather, counts: Counts, plan: Plan) {
    this.#kernel = kernel
    this.#weather = weather
    this.#counts = counts
    this.#confirmMs = plan.confirmMs
    this.#locks = new Domain(kernel, "locks", plan.seed + 3)
    this.shards = Array.from({ length: plan.shards }, (_, shard) => ({
      holder: undefined,
      untilMs: 0,
      isClean: true,
      wantedBy: shard % plan.nodes
    }))
  }

  shardOf(account: string): number {
    return Number(/\d+$/.exec(account)?.[0] ?? 0) % this.shards.length
  }

  want(shard: number, node: number): void {
    const found = this.shards[shard]
    if (found !== undefined) found.wantedBy = node
  }

  /** A split brain: a node believes that it holds a shard which another one holds, until the splits end. */
  impose(shard: number, node: number): boolean {
    const member = this.#members.find((one) => one.index === node && one.domain.isAlive)
    const { local } = member ?? {}
    if (member === undefined || local === undefined || member.owned.has(shard)) return false
    member.imposed.add(shard)
    member.domain.post(() => {
      local.enter(shard, { isClean: true, strangers: new Set() })
      member.owned.add(shard)
    })
    return true
  }

  endSplits(): void {
    for (const member of this.#members) member.imposed.clear()
  }

  holderOf(shard: number): number {
    return this.shards[shard]?.holder?.index ?? 0
  }

  /** Accounts of shards that a node holds. */
  isHeldBy(account: string, node: number): boolean {
    return this.shards[this.shardOf(account)]?.holder?.index === node
  }

  /** Runs for as long as the node lives: confirms its locks, gives up what others want, takes what is free. */
  join(member: Member, local: Local): Effect.Effect<never> {
    member.local = local
    this.#members.push(member)
    const round = Effect.suspend(() => {
      const sentAtMs = this.#elapsed(member)
      return Effect.flatMap(
        this.#askLocks(member, () => this.#confirm(member)),
        (confirmed) => {
          if (confirmed === undefined) return Effect.void
          member.certainUntilMs = sentAtMs + lockMs * 0.8
          const lost = [...member.owned].filter(
            (shard) => !confirmed.held.includes(shard) && !member.imposed.has(shard)
          )
          for (const shard of lost) member.owned.delete(shard)
          if (lost.length > 0) this.#counts.add("path shard lost while frozen")
          return Effect.all([
            lost.length === 0 ? Effect.void : Effect.forkChild(local.leave(new Set(lost))),
            Effect.forEach(confirmed.unwanted, (shard) => this.#giveUp(member, local, shard)),
            Effect.forEach(confirmed.free, (shard) => this.#take(member, local, shard)),
            this.#reassign(member)
          ])
        }
      )
    })
    const leave = Effect.forEach([...member.owned], (shard) => this.#giveUp(member, local, shard), {
      concurrency: "unbounded",
      discard: true
    })
    return round.pipe(
      Effect.andThen(
        Effect.suspend(() => Effect.sleep(this.#confirmMs / 4 + this.#kernel.rng.below(this.#confirmMs)))
      ),
      Effect.forever,
      // A node that is told to end gives up its shards first.
      Effect.onInterrupt(() => leave)
    )
  }

  placementOf(member: Member): Placing {
    const { shardOf } = this
    const owns = (account: AccountId) =>
      member.owned.has(this.shardOf(account)) && this.#elapsed(member) < member.certainUntilMs
    const moved = () => Effect.fail(new NotMine())
    return {
      isAlone: false,
      owns,
      shardOf: shardOf.bind(this),
      nodeOf: (shard) => `node-${this.holderOf(shard)}`,
      ownedShards: () => allShards,
      others: () => [],
      dispatch: (account, commands, isAgain) =>
        this.#send(member, account, (local) => local.dispatch(commands, isAgain)).pipe(
          Effect.catch(() => Effect.succeed(commands.map(() => ({ _tag: "Unknown" as const }))))
        ),
      head: (account) =>
        Effect.catchIf(
          this.#send(member, account, (local) => local.head(account)),
          (error) => error === undelivered,
          moved
        ),
      requestLease: (account, lease) =>
        Effect.catchIf(
          this.#send(member, account, (local) => {
            this.#counts.add("path account leased")
            return requestLeaseOf(local, account, lease)
          }),
          (error) => error === undelivered,
          moved
        ),
      release: (account, lease, returned) =>
        Effect.ignore(
          this.#send(member, account, (local) => Effect.sync(() => local.release(account, lease, returned)))
        )
    }
  }

  singletonsOf(member: Member): SingletonHost {
    const counts = this.#counts
    return {
      run: (name, life) =>
        Effect.gen({ self: this }, function* () {
          const context = yield* Effect.context<Effect.Services<typeof life>>()
          const begin = Effect.map(
            Effect.forkDetach(Effect.scoped(Effect.provideContext(life, context)), {
              startImmediately: true
            }),
            (fiber) => () => Effect.sync(() => fiber.interruptUnsafe())
          )
          member.places.set(name, { begin, end: undefined })
          yield* Effect.addFinalizer(() => member.places.get(name)?.end?.() ?? Effect.void)
          counts.add("singleton registered")
        }),
      setAwayUnsafe: () => {},
      publishUnsafe: () => {},
      statusUnsafe: () => undefined,
      statesUnsafe: () => [],
      troubleUnsafe: () => undefined
    }
  }

  /** Each singleton runs on one of the nodes that are known to live; two may run it for a while. */
  #reassign(member: Member): Effect.Effect<void> {
    const living = this.#living()
    const nth = living.indexOf(member)
    return Effect.forEach(
      member.places.values(),
      (place) => {
        const name = [...member.places].find(([, one]) => one === place)?.[0] ?? ""
        const isOurs = living.length > 0 && nameNumber(name) % living.length === nth
        if (isOurs && place.end === undefined)
          return Effect.map(place.begin, (end) => {
            place.end = end
          })
        if (isOurs || place.end === undefined) return Effect.void
        const end = place.end()
        place.end = undefined
        this.#counts.add("path singleton moved")
        return end
      },
      { discard: true }
    )
  }

  #living(): ReadonlyArray<Member> {
    return this.#members.filter((one) => one.domain.isAlive && this.#kernel.now - one.confirmedAtMs < lockMs)
  }

  #elapsed({ domain }: Member): number {
    return this.#kernel.now * domain.rate
  }

  #askLocks<A>(member: Member, question: () => A): Effect.Effect<A | undefined> {
    return member.domain.ask(this.#locks, Effect.sync(question), {
      outMs: this.#weather.latency(),
      backMs: this.#weather.latency(),
      cut: Effect.die(new Error("the locks never end"))
    })
  }

  #confirm(member: Member) {
    const { now } = this.#kernel
    member.confirmedAtMs = now
    const living = this.#living()
    const held: Array<number> = []
    const unwanted: Array<number> = []
    const free: Array<number> = []
    for (const [index, shard] of this.shards.entries()) {
      const wanted = living.find((one) => one.index === shard.wantedBy) ?? living[index % living.length]
      if (shard.holder === member && shard.untilMs >= now) {
        shard.untilMs = now + lockMs
        held.push(index)
        if (wanted !== member) unwanted.push(index)
      } else if (wanted === member && isFree(shard, now)) free.push(index)
    }
    return { held, unwanted, free }
  }

  #giveUp(member: Member, local: Local, shard: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!member.owned.delete(shard)) return Effect.void
      this.#counts.add("path shard moved")
      return Effect.flatMap(local.leave(new Set([shard])), (isClean) =>
        this.#askLocks(member, () => {
          const found = this.shards[shard]
          if (found?.holder !== member) return
          found.holder = undefined
          found.isClean = isClean
        })
      )
    })
  }

  #take(member: Member, local: Local, shard: number): Effect.Effect<void> {
    const acquire = this.#askLocks(member, () => {
      const found = this.shards[shard]
      const { now } = this.#kernel
      if (found === undefined || !isFree(found, now)) return undefined
      if (found.holder !== undefined) this.#counts.add("path shard seized")
      const { isClean } = found
      Object.assign(found, { holder: member, untilMs: now + lockMs, isClean: false })
      return { isClean }
    })
    return Effect.map(acquire, (taken) => {
      if (taken === undefined) return
      local.enter(shard, { isClean: taken.isClean, strangers: new Set() })
      member.owned.add(shard)
    })
  }

  #send<A, E>(
    member: Member,
    account: AccountId,
    question: (local: Local) => Effect.Effect<A, E>
  ): Effect.Effect<A, E | typeof undelivered> {
    return Effect.suspend((): Effect.Effect<A, E | typeof undelivered> => {
      const nothing = Effect.fail<typeof undelivered>(undelivered)
      const to = this.shards[this.shardOf(account)]?.holder
      if (to?.local === undefined || this.#weather.strikes("peerLost"))
        return Effect.delay(nothing, 1 + this.#weather.latency())
      this.#counts.add("message between nodes")
      const answer = member.domain.ask(to.domain, question(to.local), {
        outMs: this.#weather.latency() + (this.#weather.strikes("peerSlow") ? peerSlowMs : 0),
        backMs: this.#weather.latency(),
        cut: nothing,
        giveUpMs: lockMs,
        late: nothing
      })
      return this.#weather.strikes("peerAnswerLost") ? Effect.andThen(Effect.exit(answer), nothing) : answer
    })
  }
}

const isFree = (shard: Shard, now: number): boolean => shard.holder === undefined || shard.untilMs < now

const nameNumber = (name: string): number =>
  [...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7) % 1_009
