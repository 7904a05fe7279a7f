/**
 * Lives a plan to its end: nodes that start, crash, freeze and come back; clients that send commands and ask questions; a
 * subscriber; faults. Everything that callers were told is written down with the steps between which they were told it.
 */
import { Context, Effect, Exit, Fiber, Layer, Option, Result, Scope, Stream } from "effect"
import { Placement } from "../../src/actors/accounts/Placement.ts"
import { Snapshotter } from "../../src/actors/accounts/Snapshotter.ts"
import { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import { ClosedTimestamps } from "../../src/actors/past/ClosedTimestamps.ts"
import { TimeTravel } from "../../src/actors/past/TimeTravel.ts"
import { Singletons } from "../../src/actors/relay/Singletons.ts"
import { openSource } from "../../src/actors/subscriptions/ItemSource.ts"
import type { CommittedEvent } from "../../src/actors/subscriptions/SharedEvent.ts"
import type { CommandError } from "../../src/domain/Errors.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import { type AccountView, type CommandView, viewOf } from "../../src/domain/Views.ts"
import { Ledger } from "../../src/Ledger.ts"
import { over } from "../../src/LedgerNode.ts"
import { Cluster, Member } from "./Cluster.ts"
import { accountName, type WorldCommand } from "./Commands.ts"
import { badEndOf, Domain, Kernel, trapped } from "./Kernel.ts"
import { limitsLayer, limitsOf } from "./limits.ts"
import { Counts, Outside } from "./Outside.ts"
import { type Action, type Disruption, type Plan, type Step, skewMaxMs } from "./Plan.ts"

const stepsMax = 1_500_000
const sendingsMax = 8
/** Virtual time in which a world without faults must have answered everything and caught up. */
const healMs = 20_000
const patienceMs = 1_500
/** The longest pause between two looks at random moments. */
const auditMs = 90
/** The same where answers go wrong for a short while. */
const soonMs = 20
/** A node knows that its clock is off after so long: heartbeats, and what they take on their way. */
const offKnownMs = 400
const impatienceMs = 30
/** Answers about the past that are asked for once more in the end. */
const askedAgainMax = 30
/** How often one who got no answer looks for the command. */
const lookUpsMax = 12
/** Places at which a subscription is resumed in the end. */
const resumedMax = 20
/** A client waits for a hold's expiry where it is no further off. */
const expirySoonMs = 300

/** An error as its caller saw it: the tag, and all of its fields. */
export interface Refusal {
  readonly _tag: string
  readonly [field: string]: unknown
}

/** When a question was asked and answered: between two steps of the world, and by a perfect clock. */
interface Asked {
  readonly start: number
  readonly end: number
  readonly askedAt: number
  readonly answeredAt: number
}

/** One sending of a command, under the id that it lands as; `answer` is undefined where none came. */
export interface Sending extends Asked {
  readonly input: WorldCommand
  readonly answer: Receipt | Refusal | undefined
}

/** What a question about an account was answered; undefined: that there is no account. */
export interface Seen extends Asked {
  readonly kind: "strong" | "weak" | "asOf"
  readonly account: string
  readonly view: AccountView | undefined
  /** A version that the caller had a token for, or the instant that was asked for. */
  readonly atLeast?: number
  readonly instant?: number
}

/** What a question about a command was answered; undefined: that none of that id was accepted. */
export interface Found extends Asked {
  readonly command: string
  readonly view: CommandView | undefined
}

/** What all accounts have together of an asset, as of an instant; `total` is that with the other sides. */
export interface TrialSeen {
  readonly instant: number
  readonly asset: string
  readonly accounts: bigint
  readonly total: bigint
}

export interface LineSeen {
  readonly account: string
  readonly version: number
  readonly balance: bigint
}

/** An event as a subscriber was told of it. */
export interface Told extends CommittedEvent {
  readonly step: number
}

/** What a subscription told that was resumed behind so many events of the one from the beginning. */
export interface Resumed {
  readonly behind: number
  readonly events: ReadonlyArray<Pick<CommittedEvent, "account" | "version">>
}

/** Everything that a judge looks at. */
export interface History {
  readonly plan: Plan
  readonly hash: string
  readonly steps: number
  readonly lastedMs: number
  readonly counts: Counts
  readonly outside: Outside
  readonly sendings: ReadonlyArray<Sending>
  readonly seen: ReadonlyArray<Seen>
  readonly found: ReadonlyArray<Found>
  readonly trials: ReadonlyArray<TrialSeen>
  readonly lines: ReadonlyArray<LineSeen>
  readonly events: ReadonlyArray<Told>
  readonly resumed: ReadonlyArray<Resumed>
  /** What went wrong in the world itself: it stood still, or a program died. */
  readonly troubles: ReadonlyArray<string>
}

/** One life of a node. */
interface Life {
  readonly index: number
  readonly domain: Domain
  readonly ledger: Ledger["Service"]
}

/** A process that answers questions about the past beside the nodes. */
interface Reader {
  readonly domain: Domain
  readonly travel: Effect.Effect<TimeTravel["Service"]>
}

class World {
  readonly plan: Plan
  readonly kernel: Kernel
  readonly counts = new Counts()
  readonly outside: Outside
  readonly cluster: Cluster
  readonly clients: Domain
  readonly lives: Array<Life | undefined>
  readonly domains: Array<Domain | undefined>
  /** By which each node reaches the event store. */
  readonly gateways: Array<Domain>
  readonly sendings: Array<Sending> = []
  readonly seen: Array<Seen> = []
  readonly found: Array<Found> = []
  readonly trials: Array<TrialSeen> = []
  readonly lines: Array<LineSeen> = []
  readonly events: Array<Told> = []
  readonly resumed: Array<Resumed> = []
  readonly troubles: Array<string> = []
  isHealing = false
  isOver = false
  #born = 0
  #pressed = 0
  /** The main fiber of each life of a node. */
  readonly #processes = new Map<Domain, Fiber.Fiber<never, unknown>>()
  readonly #offsets: Array<number>
  /** When each node's clock was stepped last. */
  readonly #offSince: Array<number> = []

  constructor(plan: Plan) {
    this.plan = plan
    this.kernel = new Kernel(plan.seed, plan.order, plan.busyOneIn)
    this.outside = new Outside(this.kernel, plan, this.counts)
    this.cluster = new Cluster(this.kernel, this.outside.weather, this.counts, plan)
    this.clients = new Domain(this.kernel, "clients", plan.seed + 4)
    this.lives = Array.from({ length: plan.nodes }, () => undefined)
    this.domains = [...this.lives].map(() => undefined)
    this.#offsets = plan.drifts.map(({ offsetMs }) => offsetMs)
    this.gateways = plan.drifts.map((_, index) => this.#gateway(index))
  }

  #gateway(index: number): Domain {
    const offsetMs = this.plan.drifts[index]?.storeOffsetMs ?? 0
    return new Domain(this.kernel, `gateway ${index}`, this.plan.seed + 10 + index, { offsetMs })
  }

  /** Begins a life of a node: a process over whatever the log holds. */
  start(index: number, name: string): void {
    const { plan, kernel } = this
    const gateway = this.gateways[index]
    if (gateway === undefined || this.domains[index]?.isAlive === true) return
    const domain = new Domain(kernel, name, plan.seed * 100 + ++this.#born, {
      offsetMs: this.#offsets[index] ?? 0,
      rate: plan.drifts[index]?.rate ?? 1
    })
    this.domains[index] = domain
    const member = new Member(index, domain, kernel.now)
    const cluster =
      plan.nodes === 1
        ? Layer.empty
        : Layer.mergeAll(
            Layer.succeed(Placement, this.cluster.placementOf(member)),
            Layer.succeed(Singletons, this.cluster.singletonsOf(member))
          )
    const { aheadMax, deadlineMs, heartbeatMs, idleMs, lanes, residentsMax, sweepGraceMs, sweepMs } = plan
    const limits = limitsOf(
      {
        heartbeatMs,
        idleMs,
        lanes,
        residentsMax,
        sweepMs,
        commandDeadlineMs: deadlineMs,
        queryDeadlineMs: deadlineMs
      },
      { subscribeCommitsMax: aheadMax, sweepGraceMs }
    )
    const node = over(
      name,
      Layer.mergeAll(this.outside.layerFor(domain, gateway).pipe(Layer.provideMerge(limits)), cluster, limits)
    )
    const life = Effect.gen({ self: this }, function* () {
      const context = yield* Layer.buildWithMemoMap(node, Layer.makeMemoMapUnsafe(), yield* Effect.scope)
      const { localNode } = Context.get(context, Dispatcher)
      this.lives[index] = { index, domain, ledger: Context.get(context, Ledger) }
      this.counts.add("node started")
      return yield* plan.nodes === 1 ? Effect.never : this.cluster.join(member, localNode)
    })
    // As a supervisor does with a process that could not start.
    const supervised = Effect.scoped(life).pipe(Effect.delay(1), Effect.retry({ times: 200 }))
    const process = domain.fork(supervised)
    this.#processes.set(domain, process)
    process.addObserver((exit) => {
      const end = badEndOf(exit)
      if (end !== undefined) this.troubles.push(`${name} died: ${end}`)
    })
  }

  /** The outcome of an effect on a node, as a caller elsewhere learns it: undefined where no answer came. */
  ask<A, E>(
    life: Pick<Life, "domain">,
    effect: Effect.Effect<A, E>,
    waitMs: number
  ): Effect.Effect<Result.Result<A, E> | undefined> {
    return Effect.suspend(() => {
      const { weather } = this.outside
      const lost = Effect.succeed(undefined)
      const answered: Effect.Effect<Result.Result<A, E> | undefined> = Effect.map(
        Effect.exit(effect),
        (exit) => {
          if (Exit.isSuccess(exit)) return Result.succeed(exit.value)
          const found = Exit.findErrorOption(exit)
          const end = badEndOf(exit)
          if (Option.isNone(found) && end !== undefined)
            this.troubles.push(`a caller was told a defect: ${end}`)
          return Option.isSome(found) ? Result.fail(found.value) : undefined
        }
      )
      return this.clients.ask(life.domain, answered, {
        outMs: weather.latency(),
        backMs: weather.latency(),
        cut: lost,
        giveUpMs: waitMs,
        late: lost
      })
    })
  }

  lifeOf(node: number): Life | undefined {
    const alive = this.lives.filter((life) => life?.domain.isAlive === true)
    return alive.find((life) => life?.index === node) ?? alive[node % Math.max(1, alive.length)]
  }

  send(node: number, input: Sending["input"], waitMs: number): Effect.Effect<Sending["answer"]> {
    return Effect.suspend((): Effect.Effect<Sending["answer"]> => {
      const life = this.lifeOf(node)
      if (life === undefined) return Effect.delay(Effect.succeed({ _tag: "Unavailable" }), 10)
      const asked = this.#asking()
      const wasOff = this.#isOff(life)
      return Effect.map(this.ask(life, dispatch(life.ledger, input), waitMs), (result) => {
        const answer =
          result === undefined
            ? undefined
            : Result.isSuccess(result)
              ? result.success
              : refusalOf(result.failure)
        this.sendings.push({ input: asItLands(input), ...asked(), answer })
        if (wasOff && this.#isOff(life) && answer !== undefined && isReceipt(answer) && !answer.replayed)
          this.troubles.push(`time: a node with a wrong clock has accepted ${input.commandId}`)
        const word = wordOf(answer)
        this.counts.add(`answer ${word}`)
        if (word === "Accepted") this.counts.add(`accepted ${input._tag}`)
        this.kernel.note(`${input.commandId} ${word}`)
        return answer
      })
    })
  }

  /** Begins a question; what it answers is when it was asked and, by now, answered. */
  #asking(): () => Asked {
    const [start, askedAt] = [this.kernel.steps, this.outside.bus.wall()]
    return () => ({ start, end: this.kernel.steps, askedAt, answeredAt: this.outside.bus.wall() })
  }

  /** It decides commands alone, and has had the time to see that its clock is off by more than it may be. */
  #isOff({ index, domain }: Life): boolean {
    const gateway = this.gateways[index]
    const since = this.#offSince[index]
    if (this.plan.nodes > 1 || gateway === undefined || since === undefined) return false
    return (
      !domain.isFrozen &&
      !gateway.isFrozen &&
      Math.abs(domain.offsetMs - gateway.offsetMs) > 3 * skewMaxMs &&
      this.kernel.now - since > offKnownMs
    )
  }

  act(step: Step): Effect.Effect<unknown> {
    const { action } = step
    if (action.kind === "command") {
      const { input, twin } = action
      const inputs = twin === undefined ? [input] : [input, twin]
      return Effect.forEach(inputs, (one) => this.command(step, one), {
        concurrency: "unbounded",
        discard: true
      })
    }
    const life = this.lifeOf(step.node)
    return life === undefined ? Effect.void : this.question(life, action)
  }

  command(step: Step, input: Sending["input"]): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      yield* Effect.sleep(this.#untilExpiry(input))
      for (let sending = 0; sending < sendingsMax && !this.isOver; sending++) {
        const isImpatient = this.outside.weather.strikes("clientImpatient")
        const answer = yield* this.send(step.node + sending, input, isImpatient ? impatienceMs : patienceMs)
        if (answer !== undefined && !isOpen(answer)) return
        yield* Effect.sleep(this.kernel.rng.below(40))
      }
    })
  }

  /** So long that a command about a hold reaches its node just about when the hold expires, where that is soon. */
  #untilExpiry(input: WorldCommand): number {
    if (!("hold" in input) || this.kernel.rng.chance(0.3)) return 0
    const placed = this.sendings.find(
      ({ answer, input: { commandId } }) =>
        commandId === input.hold && answer !== undefined && isReceipt(answer)
    )
    if (placed?.input._tag !== "PlaceHold" || placed.answer === undefined || !isReceipt(placed.answer))
      return 0
    const leftMs = placed.answer.recordedAt + (placed.input.expiresIn ?? 0) - this.clients.wall()
    return leftMs > expirySoonMs ? 0 : Math.max(0, leftMs - this.kernel.rng.below(2 * this.plan.latencyMs))
  }

  #note(what: string): void {
    this.counts.add(`question ${what}`)
    this.kernel.note(what)
  }

  question(life: Life, action: Exclude<Action, { kind: "command" }>): Effect.Effect<unknown> {
    switch (action.kind) {
      case "trialAt":
        return this.#askTrial(life, Math.max(1, this.clients.wall() - action.agoMs))
      case "sum":
        return this.#askSum(life)
      case "find":
        return this.#askFind(life, action.command)
      case "statement":
        return this.#askStatement(life, action.account)
      default:
        return this.#askBalance(life, action)
    }
  }

  #askTrial(life: Life, instant: number): Effect.Effect<unknown> {
    const asked = life.ledger.trialBalanceAt({ recordedAt: instant })
    return Effect.map(this.ask(life, asked, patienceMs), (result) => {
      this.#note(`trialAt ${wordOfResult(result)}`)
      if (result === undefined || Result.isFailure(result)) return
      for (const asset of worldAssets) {
        const line = result.success.lines.find((one) => one.asset === asset)
        const { accounts = 0n, total = 0n } = line ?? {}
        this.trials.push({ instant, asset, accounts, total })
      }
    })
  }

  #askSum(life: Life): Effect.Effect<unknown> {
    return Effect.map(this.ask(life, life.ledger.sum("acc-", {}), patienceMs), (result) => {
      this.#note(`sum ${wordOfResult(result)}`)
      // Where an account is parked, the answer says that it is not whole.
      if (result === undefined || Result.isFailure(result) || result.success.parked > 0) return
      const { knownAt: instant, sums } = result.success
      for (const asset of worldAssets) {
        const accounts = sums.find((one) => one.asset === asset)?.balance ?? 0n
        this.trials.push({ instant, asset, accounts, total: 0n })
      }
    })
  }

  /** Answers whether it was found. */
  #askFind(life: Life, command: string): Effect.Effect<boolean> {
    const asked = this.#asking()
    return Effect.map(this.ask(life, life.ledger.find(command), patienceMs), (result) => {
      this.#note(`find ${wordOfResult(result)}`)
      if (result === undefined || Result.isFailure(result)) return false
      this.found.push({ command, ...asked(), view: Option.getOrUndefined(result.success) })
      return Option.isSome(result.success)
    })
  }

  #askStatement(life: Life, account: string): Effect.Effect<unknown> {
    return Effect.map(this.ask(life, life.ledger.statement(account, { limit: 5 }), patienceMs), (result) => {
      this.#note(`statement ${wordOfResult(result)}`)
      if (result === undefined || Result.isFailure(result)) return
      for (const { version, balance } of result.success.rows) this.lines.push({ account, version, balance })
    })
  }

  #askBalance(
    life: Life,
    action: Extract<Action, { kind: "strong" | "weak" | "asOf" }>
  ): Effect.Effect<unknown> {
    const asking = this.#asking()
    const { ledger } = life
    const { account, kind } = action
    const token = kind === "weak" ? this.#latestToken(account) : undefined
    const instant = action.kind === "asOf" ? Math.max(1, this.clients.wall() - action.agoMs) : undefined
    const asked =
      kind === "strong"
        ? ledger.strongBalance(account)
        : instant !== undefined
          ? ledger.balanceAt(account, { recordedAt: instant })
          : ledger.balance(account, token === undefined ? {} : { readToken: `${account}@${token}` })
    return Effect.map(this.ask(life, asked, patienceMs), (result) => {
      this.#note(`${kind} ${wordOfResult(result)}`)
      const isAbsent =
        result !== undefined && Result.isFailure(result) && result.failure._tag === "AccountNotFound"
      if (result === undefined || (Result.isFailure(result) && !isAbsent)) return
      this.seen.push({
        kind,
        account,
        ...asking(),
        view: Result.isSuccess(result) ? result.success : undefined,
        ...(token === undefined ? {} : { atLeast: token }),
        ...(instant === undefined ? {} : { instant })
      })
    })
  }

  /** The highest version of an account that any client has a receipt for. */
  #latestToken(account: string): number | undefined {
    let latest: number | undefined
    for (const { answer } of this.sendings) {
      if (answer === undefined || !isReceipt(answer)) continue
      for (const posting of answer.postings) {
        if (posting.account === account) latest = Math.max(latest ?? 0, posting.version)
      }
    }
    return latest
  }

  /** Reads the feed from the beginning, on any node, and goes on at another one where it breaks. */
  subscriber(): Effect.Effect<void> {
    let cursor: string | undefined
    let node = 0
    const attempt = Effect.suspend(() => {
      const life = this.lifeOf(node++)
      if (life === undefined) return Effect.sleep(30)
      const feed = life.ledger.subscribe(cursor === undefined ? {} : { after: cursor })
      const note = (event: CommittedEvent): void => {
        cursor = event.cursor
        this.events.push({ ...event, step: this.kernel.steps })
        this.kernel.note(`event ${event.account}@${event.version}`)
      }
      // As a host reads it, and as a stream of HTTP is sent.
      const take =
        node % 2 === 0
          ? Stream.runForEach(feed, (event) => Effect.sync(() => note(event)))
          : this.#handOn(feed, note)
      return Effect.andThen(this.ask(life, take, 400 + this.kernel.rng.below(2_000)), Effect.sleep(20))
    })
    return attempt.pipe(Effect.repeat({ until: () => this.isOver }), Effect.asVoid)
  }

  /** Where it has no room, it goes on after a while. */
  #handOn(feed: Stream.Stream<CommittedEvent, unknown>, note: (event: CommittedEvent) => void) {
    const { rng } = this.kernel
    return Effect.gen({ self: this }, function* () {
      const { next, handOn } = yield* openSource(feed)
      while (true) {
        for (const event of yield* next) note(event)
        yield* handOn((events) => {
          for (const event of events) {
            this.counts.add("event handed on")
            note(event)
          }
          return !rng.chance(0.1)
        })
        yield* Effect.sleep(rng.below(5))
      }
    }).pipe(Effect.scoped)
  }

  /** Resumes a subscription behind so many events of the first one, and reads on for a while. */
  #resume(behind: number, forMs: number): Effect.Effect<unknown> {
    return Effect.suspend(() => {
      const { rng } = this.kernel
      const life = this.lifeOf(rng.below(this.plan.nodes))
      const cursor = this.events[behind - 1]?.cursor
      if (life === undefined || cursor === undefined) return Effect.void
      const events: Array<Resumed["events"][number]> = []
      this.resumed.push({ behind, events })
      const take = Stream.runForEach(life.ledger.subscribe({ after: cursor }), ({ account, version }) =>
        Effect.sync(() => {
          events.push({ account, version })
          this.kernel.note(`resumed ${account}@${version}`)
        })
      )
      return this.ask(life, take, forMs)
    })
  }

  /** Subscriptions that are resumed at places of the past, again and again, where clocks differ. */
  resumer(): Effect.Effect<void> {
    if (this.plan.theme !== "time") return Effect.void
    const { rng } = this.kernel
    const resume = Effect.suspend(() =>
      this.#resume(1 + rng.below(this.events.length + 1), 20 + rng.below(60))
    )
    return this.#repeatedly(auditMs, resume)
  }

  /** The same where a command comes before one that was recorded no later: there the order of times is not that of versions. */
  #resumeWhereTimesCross(): Effect.Effect<void> {
    if (this.plan.theme !== "time") return Effect.void
    const { rng } = this.kernel
    /** By the cursor before them: the events of a commit have few of their own. */
    const crossing = new Map<string, number>()
    for (const [index, { commandId, recordedAt }] of this.events.entries()) {
      const isCrossed = this.events
        .slice(index + 1, index + 20)
        .some((later) => later.recordedAt <= recordedAt && later.commandId !== commandId)
      const before = this.events[index - 1]?.cursor
      if (isCrossed && before !== undefined) crossing.set(before, index)
    }
    const places = [...crossing.values()]
    while (places.length > resumedMax) places.splice(rng.below(places.length), 1)
    return Effect.forEach(places, (index) => this.#resume(index, 60 + rng.below(100)), { discard: true })
  }

  /**
   * Questions about accounts that are about to change hands, and commands to them, at the nodes that lose them and at others: an
   * account that nothing happens on shows no fault of its memory.
   */
  #press(names: ReadonlyArray<string>, node: number, forMs: number): void {
    const { rng } = this.kernel
    const strong = (name: string, at: number) => {
      const life = this.lifeOf(at)
      return life === undefined ? Effect.void : this.question(life, { kind: "strong", account: name })
    }
    /** Who gets no answer looks the command up, and asks what the account has once it is found. */
    const add = (name: string, at: number) => {
      const commandId = `press-${++this.#pressed}`
      let lookUps = 0
      const lookUp = Effect.suspend(() => {
        const life = this.lifeOf(at)
        if (life === undefined) return Effect.succeed(false)
        return Effect.flatMap(this.#askFind(life, commandId), (isFound) =>
          isFound
            ? Effect.as(
                Effect.forEach(this.lives.keys(), (other) => strong(name, other)),
                true
              )
            : Effect.succeed(false)
        )
      })
      return Effect.flatMap(
        this.send(at, { _tag: "Deposit", account: name, amount: 1n, commandId }, impatienceMs),
        (answer) =>
          answer !== undefined && !isOpen(answer)
            ? Effect.void
            : Effect.suspend(() => Effect.sleep(10 * ++lookUps + rng.below(20))).pipe(
                Effect.andThen(lookUp),
                Effect.repeat({ times: lookUpsMax, until: (isFound) => isFound }),
                Effect.asVoid
              )
      )
    }
    for (const name of names) {
      if (rng.chance(0.5)) this.clients.fork(add(name, node))
      this.clients.fork(strong(name, node))
    }
    const rounds = Effect.suspend(() => {
      const name = names[rng.below(names.length)]
      if (name === undefined || this.isHealing) return Effect.void
      const at = rng.below(this.plan.nodes)
      return Effect.forkDetach(rng.chance(0.4) ? add(name, at) : strong(name, at))
    })
    const paced = Effect.suspend(() => Effect.andThen(Effect.sleep(rng.below(forMs / 4)), rounds))
    this.clients.fork(Effect.repeat(paced, { times: 8 }))
  }

  /** What the read model has of accounts is asked for again and again, on all nodes, for a while. */
  #watch(names: ReadonlyArray<string>, forMs: number): void {
    const { rng } = this.kernel
    const until = this.kernel.now + forMs
    const look = Effect.suspend(() => {
      const name = names[rng.below(names.length)]
      const life = this.lifeOf(rng.below(this.plan.nodes))
      if (name === undefined || life === undefined || this.isHealing) return Effect.void
      return Effect.forkDetach(this.question(life, { kind: "weak", account: name }))
    })
    const paced = Effect.suspend(() => Effect.andThen(Effect.sleep(1 + rng.below(6)), look))
    this.clients.fork(Effect.repeat(paced, { until: () => this.kernel.now > until }))
  }

  #names(): ReadonlyArray<string> {
    return Array.from({ length: this.plan.accounts }, (_, index) => accountName(index))
  }

  #rush(size: number): void {
    const { rng } = this.kernel
    for (let nth = 0; nth < size; nth++) {
      const [account, to] = [rng.below(this.plan.accounts), rng.below(this.plan.accounts)].map(accountName)
      if (account === undefined || to === undefined) continue
      const commandId = `press-${++this.#pressed}`
      const input: WorldCommand =
        account === to || rng.chance(0.5)
          ? { _tag: "Deposit", account, amount: 1n, commandId }
          : { _tag: "Transfer", from: account, to, amount: 1n, commandId }
      this.clients.fork(Effect.delay(this.send(rng.below(this.plan.nodes), input, patienceMs), rng.below(20)))
    }
  }

  /** Commands and questions come to the accounts that a fault of ownership is about, just before it and during it. */
  #pressBefore(disruption: Disruption): number {
    const { theme } = this.plan
    const { kind } = disruption
    if (theme === "everything" || theme === "money" || this.isHealing) return 0
    if (theme === "time" && kind !== "freeze" && kind !== "stall") return 0
    if (kind !== "moveShard" && kind !== "freeze" && kind !== "stall" && kind !== "crash") return 0
    const names = this.#names()
    const concerned = names.filter((name) =>
      kind === "moveShard"
        ? this.cluster.shardOf(name) === disruption.shard
        : this.plan.nodes === 1 || this.cluster.isHeldBy(name, disruption.node)
    )
    const from = kind === "moveShard" ? this.cluster.holderOf(disruption.shard) : disruption.node
    this.#press(concerned, from, "forMs" in disruption ? disruption.forMs : 200)
    return 1 + this.kernel.rng.below(2 * this.plan.latencyMs + 4)
  }

  disrupt(disruption: Disruption): void {
    const soonMs = this.#pressBefore(disruption)
    if (soonMs > 0) this.kernel.after(soonMs, () => this.#begin(disruption))
    else this.#begin(disruption)
  }

  #begin(disruption: Disruption): void {
    if (this.isHealing) return
    const { kernel } = this
    this.counts.add(`fault ${disruption.kind}`)
    kernel.note(disruption.kind)
    const domain = "node" in disruption ? this.domains[disruption.node] : undefined
    const gateway = "node" in disruption ? this.gateways[disruption.node] : undefined
    switch (disruption.kind) {
      case "crash": {
        this.#crash(disruption)
        return
      }
      case "end": {
        this.#end(disruption)
        return
      }
      case "changeSnapshot":
        return this.outside.changeSnapshot(accountName(disruption.account))
      case "freeze": {
        domain?.freeze()
        kernel.after(disruption.forMs, () => this.#thaw(disruption.node, domain))
        return
      }
      case "stall": {
        gateway?.freeze()
        kernel.after(disruption.forMs, () => this.#thaw(disruption.node, gateway))
        return
      }
      case "answersLate": {
        if (gateway !== undefined) this.outside.answersLateUntil.set(gateway, kernel.now + disruption.forMs)
        return
      }
      case "clockStep": {
        this.#stepClock(disruption.node, disruption.byMs)
        kernel.after(disruption.forMs, () => this.#stepClock(disruption.node, -disruption.byMs))
        return
      }
      case "storeClockStep": {
        if (gateway !== undefined) gateway.offsetMs = disruption.byMs
        return
      }
      case "moveShard":
        return this.cluster.want(disruption.shard, disruption.node)
      case "splitBrain": {
        if (!this.cluster.impose(disruption.shard, disruption.node)) return
        this.outside.isSplit = true
        const names = this.#names()
        this.#press(
          names.filter((name) => this.cluster.shardOf(name) === disruption.shard),
          disruption.node,
          300
        )
        this.counts.add("path split brain")
        return
      }
      case "rush":
        return this.#rush(disruption.size)
      case "press": {
        const names = this.#names().filter((name) => this.cluster.isHeldBy(name, disruption.node))
        this.#press(names, disruption.node, disruption.forMs / 4)
        this.#watch(names, disruption.forMs)
        return
      }
      case "readModelHesitates": {
        this.outside.readModel.freeze()
        kernel.after(disruption.forMs, () => this.outside.readModel.thaw())
        return
      }
      case "forge":
        return this.outside.forge(accountName(disruption.account), disruption.isAhead)
      case "wipeBus":
        return this.outside.wipeBus()
    }
  }

  #nameOf(own: string): string {
    return this.plan.isOfOneName ? "node" : own
  }

  #crash(disruption: Extract<Disruption, { kind: "crash" }>): void {
    const { afterMs, lingersMs, node, sameName } = disruption
    const domain = this.domains[node]
    if (domain === undefined || !domain.isAlive) return
    const end = (): void => {
      if (!domain.isAlive) return
      domain.crash()
      const name = sameName ? domain.name : this.#nameOf(`node-${node}-${this.#born}`)
      this.kernel.after(afterMs, () => this.start(node, name))
    }
    const gateway = this.gateways[node]
    if (lingersMs === undefined || gateway === undefined || gateway.isFrozen) return end()
    // The store stands still for this node, which sends on, and is ended then.
    gateway.freeze()
    this.kernel.after(1 + this.kernel.rng.below(6 * this.plan.latencyMs), () => {
      if (!domain.isAlive || this.isHealing) return
      this.gateways[node] = this.#gateway(node)
      this.counts.add("path commits outlive their node")
      end()
    })
    this.kernel.after(lingersMs, () => gateway.thaw())
  }

  /** As a supervisor ends a process: it is told to, and killed when it takes too long. */
  #end({ node, graceMs, afterMs, sameName }: Extract<Disruption, { kind: "end" }>): void {
    const domain = this.domains[node]
    if (domain === undefined || !domain.isAlive) return
    let isOver = false
    const over = (): void => {
      if (isOver) return
      isOver = true
      domain.crash()
      this.kernel.after(afterMs, () =>
        this.start(node, sameName ? domain.name : this.#nameOf(`node-${node}-${this.#born}`))
      )
    }
    const process = this.#processes.get(domain)
    process?.addObserver(() => {
      this.counts.add("path node drained")
      over()
    })
    domain.post(() => process?.interruptUnsafe())
    this.kernel.after(graceMs, over)
  }

  #thaw(index: number, domain: Domain | undefined): void {
    domain?.thaw()
    if (this.#offSince[index] !== undefined) this.#offSince[index] = this.kernel.now
  }

  #stepClock(index: number, byMs: number): void {
    this.#offsets[index] = (this.#offsets[index] ?? 0) + byMs
    this.#offSince[index] = this.kernel.now
    const domain = this.domains[index]
    if (domain !== undefined) domain.offsetMs = this.#offsets[index] ?? 0
  }

  /** All faults end, and every node lives. */
  heal(): void {
    this.isHealing = true
    this.outside.weather.isFair = true
    this.outside.readModel.thaw()
    this.cluster.endSplits()
    for (const [index, gateway] of this.gateways.entries()) {
      gateway.thaw()
      // Else a node's clock may stay off by more than it may be, and refuse commands for ever.
      gateway.offsetMs = this.plan.drifts[index]?.storeOffsetMs ?? 0
    }
    for (const [index, domain] of this.domains.entries()) {
      domain?.thaw()
      if (domain === undefined || !domain.isAlive) this.start(index, this.#nameOf(`node-${index}-healed`))
    }
  }

  /** Looks at random moments: that each row of the read model is the fold of a prefix, and what the owners' memory says. */
  auditor(): Effect.Effect<void> {
    const { rng } = this.kernel
    const { theme } = this.plan
    const look = Effect.suspend(() => {
      for (const [account, { version, hash }] of this.outside.rowsOfBooks()) {
        if (this.outside.forged.has(account) || this.outside.hashAt(account, version) === hash) continue
        this.troubles.push(`I8: the row of ${account}@${version} is the fold of no prefix`)
      }
      for (const wrong of this.outside.wrongSums()) this.troubles.push(`I8: ${wrong}`)
      const life = this.lifeOf(rng.below(this.plan.nodes))
      const account = accountName(rng.below(this.plan.accounts))
      const kind = theme === "readSide" ? "weak" : "strong"
      return life === undefined ? Effect.void : this.question(life, { kind, account })
    })
    return this.#repeatedly(theme === "ownership" || theme === "readSide" ? soonMs : auditMs, look)
  }

  /** Asks about instants that are just being closed, whatever else is asked: the first of them that can be answered matters. */
  historian(): Effect.Effect<void> {
    if (this.plan.theme !== "time") return Effect.void
    const { rng } = this.kernel
    const reader = this.#startReader()
    const ask = Effect.suspend(() => {
      const life = this.lifeOf(rng.below(this.plan.nodes))
      const account = accountName(rng.below(this.plan.accounts))
      const closed = this.outside.closedInstants()
      const instant = rng.chance(0.5) ? closed[rng.below(Math.max(1, closed.length))] : undefined
      const agoMs = instant === undefined ? rng.below(60) - 35 : this.clients.wall() - instant
      if (rng.chance(0.6)) return Effect.forkDetach(this.#askReader(reader, account, agoMs))
      return life === undefined
        ? Effect.void
        : Effect.forkDetach(this.question(life, { kind: "asOf", account, agoMs }))
    })
    return this.#repeatedly(soonMs, ask)
  }

  /**
   * A process that only asks about the past, as the command line does on the stores: no writer of its own keeps its conclusions
   * back. Its gateway is ahead of the others.
   */
  #startReader(): Reader {
    const seed = this.plan.seed + 5
    const offsetMs = skewMaxMs / 2
    const domain = new Domain(this.kernel, "reader", seed, { offsetMs })
    const gateway = new Domain(this.kernel, "gateway of the reader", seed + 1, { offsetMs })
    const layer = TimeTravel.layer.pipe(
      Layer.provide(Layer.merge(ClosedTimestamps.layer, Snapshotter.layer)),
      Layer.provide(this.outside.layerFor(domain, gateway)),
      Layer.provide(limitsLayer)
    )
    const built = domain.fork(
      Effect.flatMap(Scope.make(), (scope) => Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope))
    )
    return { domain, travel: Effect.map(Fiber.join(built), (context) => Context.get(context, TimeTravel)) }
  }

  #askReader({ domain, travel }: Reader, name: string, agoMs: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const asking = this.#asking()
      const instant = Math.max(1, this.clients.wall() - agoMs)
      const account = AccountId.make(name)
      const asked = Effect.flatMap(travel, (past) => past.at(account, { _tag: "RecordedAt", instant }))
      return Effect.map(this.ask({ domain }, asked, patienceMs), (result) => {
        this.counts.add(`question reader ${wordOfResult(result)}`)
        this.kernel.note(`reader ${wordOfResult(result)}`)
        const isAbsent =
          result !== undefined && Result.isFailure(result) && result.failure._tag === "AccountNotFound"
        if (result === undefined || (Result.isFailure(result) && !isAbsent)) return
        const head = Result.isSuccess(result) ? result.success.head : undefined
        const view =
          head === undefined || head.account._tag === "Absent"
            ? undefined
            : viewOf({ ...head, account: head.account }, instant)
        this.seen.push({ kind: "asOf", account: name, ...asking(), view, instant })
      })
    })
  }

  #repeatedly(pauseMs: number, act: Effect.Effect<unknown>): Effect.Effect<void> {
    return Effect.suspend(() => Effect.sleep(1 + this.kernel.rng.below(pauseMs))).pipe(
      Effect.andThen(act),
      Effect.repeat({ until: () => this.isOver || this.isHealing }),
      Effect.asVoid
    )
  }

  /** Every command whose outcome is open is sent again until it has one, and the read model catches up. */
  settle(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      if (this.outside.isSplit) yield* this.#writeToAll()
      const latest = new Map(this.sendings.map((sending) => [sending.input.commandId, sending]))
      for (const { input, answer } of latest.values()) {
        if (answer !== undefined && !isOpen(answer)) continue
        yield* this.#untilAnswered(input)
      }
      yield* this.#untilCaughtUp()
      yield* this.#resumeWhereTimesCross()
      yield* this.#askStrong()
      const asked = new Set<string>()
      for (const { account, instant } of [...this.seen]) {
        const life = this.lifeOf(0)
        const question = `${account} ${instant}`
        if (instant === undefined || life === undefined || asked.has(question)) continue
        asked.add(question)
        if (asked.size > askedAgainMax) break
        yield* this.question(life, { kind: "asOf", account, agoMs: this.clients.wall() - instant })
      }
    })
  }

  /** What a node remembers wrongly of an account is corrected by its next commit at the latest. */
  #writeToAll(): Effect.Effect<void> {
    return Effect.forEach(
      this.#names(),
      (account) =>
        this.#untilAnswered({ _tag: "Deposit", account, amount: 1n, commandId: `press-${++this.#pressed}` }),
      { discard: true }
    )
  }

  #askStrong(): Effect.Effect<void> {
    return Effect.forEach(
      Array.from({ length: this.plan.accounts }, (_, index) => index),
      (index) => {
        const life = this.lifeOf(index)
        return life === undefined
          ? Effect.void
          : this.question(life, { kind: "strong", account: accountName(index) })
      },
      { discard: true }
    )
  }

  #untilAnswered(input: Sending["input"]): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const untilMs = this.kernel.now + healMs
      for (let node = 0; this.kernel.now < untilMs; node++) {
        const answer = yield* this.send(node, input, patienceMs)
        if (answer !== undefined && !isOpen(answer)) return
        yield* Effect.sleep(50)
      }
      this.troubles.push(`${input.commandId} gets no answer without any fault`)
    })
  }

  #untilCaughtUp(): Effect.Effect<void> {
    const lacking = (): string | undefined => {
      const heads = new Map<string, string>()
      for (const { row } of this.outside.landed) heads.set(row.accountId, row.hash)
      const told = new Set(this.events.map(({ hash }) => hash))
      const found = this.outside.rowsOfBooks()
      for (const [account, hash] of heads) if (found.get(account)?.hash !== hash) return `row ${account}`
      for (const account of found.keys()) if (!heads.has(account)) return `forged row ${account}`
      for (const { row } of this.outside.landed) if (!told.has(row.hash)) return "subscriber"
      for (const account of this.outside.parkedInBooks()) return `${account} is parked`
      return undefined
    }
    return Effect.gen({ self: this }, function* () {
      const untilMs = this.kernel.now + healMs
      for (;;) {
        const what = lacking()
        if (what === undefined) return
        if (this.kernel.now > untilMs) {
          this.troubles.push(`not caught up without any fault: ${what}`)
          return
        }
        yield* Effect.sleep(50)
      }
    })
  }

  main(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      for (let index = 0; index < this.plan.nodes; index++) this.start(index, this.#nameOf(`node-${index}`))
      for (const disruption of this.plan.disruptions) {
        this.kernel.after(disruption.at, () => this.disrupt(disruption))
      }
      yield* Effect.sleep(20)
      const feed = yield* Effect.forkDetach(this.subscriber())
      feed.addObserver((exit) => {
        const end = badEndOf(exit)
        if (end !== undefined) this.troubles.push(`the subscriber ended: ${end}`)
      })
      yield* Effect.forkDetach(this.auditor())
      yield* Effect.forkDetach(this.historian())
      yield* Effect.forkDetach(this.resumer())
      yield* Effect.forEach(
        Array.from({ length: this.plan.clients }, (_, client) => client),
        (client) =>
          Effect.forEach(
            this.plan.steps.filter((step) => step.client === client),
            (step) => Effect.andThen(Effect.sleep(step.pauseMs), this.act(step)),
            { discard: true }
          ),
        { concurrency: "unbounded", discard: true }
      )
      const last = Math.max(0, ...this.plan.disruptions.map(endOf))
      if (this.kernel.now < last) yield* Effect.sleep(last - this.kernel.now + 1)
      this.heal()
      yield* Effect.sleep(50)
      yield* this.#askStrong()
      yield* this.settle()
    })
  }
}

/** When a fault is over by itself; where a standstill is cut short, what it keeps back hardly does any harm. */
const endOf = (disruption: Disruption): number =>
  disruption.at + ("forMs" in disruption && disruption.kind !== "clockStep" ? disruption.forMs : 0)

/** A group goes the way of `dispatchAll`; what a caller calls a reversal does not matter. */
const dispatch = (ledger: Ledger["Service"], input: WorldCommand): Effect.Effect<Receipt, CommandError> => {
  if (input._tag === "Reverse") return ledger.dispatch({ ...input, commandId: "reversal" })
  if (input._tag !== "Group") return ledger.dispatch(input)
  const { _tag, commands, ...options } = input
  return ledger.dispatchAll(commands, options)
}

/** Every caller's n-th reversal of a command lands under one id, and the first need not be numbered. */
const asItLands = (input: WorldCommand): WorldCommand => {
  if (input._tag !== "Reverse") return input
  const { n = 1, ...rest } = input
  // Its fields are in one order, as bodies are compared.
  return { ...rest, n, commandId: `~r${n}~${input.original}` }
}

const worldAssets = ["USD/2", "EUR/2"]

const refusalOf = (error: { readonly _tag: string }): Refusal => ({ ...error, _tag: error._tag })

export const isReceipt = (answer: Receipt | Refusal): answer is Receipt => "postings" in answer

/** Answers after which a caller has to send the command again, to learn its outcome or to have it done. */
export const isOpen = (answer: Receipt | Refusal): boolean =>
  !isReceipt(answer) && ["Indeterminate", "Unavailable", "Overloaded"].includes(answer._tag)

const wordOf = (answer: Sending["answer"]): string =>
  answer === undefined
    ? "none"
    : isReceipt(answer)
      ? answer.replayed
        ? "Replayed"
        : "Accepted"
      : answer._tag

const wordOfResult = (result: Result.Result<unknown, { readonly _tag: string }> | undefined): string =>
  result === undefined ? "none" : Result.isSuccess(result) ? "answered" : result.failure._tag

/** Lives a plan from its beginning to its end, in one synchronous stretch. */
export const live = (plan: Plan): History =>
  trapped(() => {
    const world = new World(plan)
    const running = world.clients.fork(world.main())
    const end = world.kernel.run(() => running.pollUnsafe() !== undefined, stepsMax)
    if (end !== "over")
      world.troubles.push(end === "still" ? "the world stands still" : "the world never ends")
    const exit = running.pollUnsafe()
    const badEnd = exit === undefined ? undefined : badEndOf(exit)
    if (badEnd !== undefined) world.troubles.push(`the world ended: ${badEnd}`)
    world.isOver = true
    const { counts, outside, sendings, seen, found, trials, lines, events, resumed, troubles, kernel } = world
    return {
      plan,
      hash: kernel.hash,
      steps: kernel.steps,
      lastedMs: kernel.now,
      counts,
      outside,
      sendings,
      seen,
      found,
      trials,
      lines,
      events,
      resumed,
      troubles
    }
  })
