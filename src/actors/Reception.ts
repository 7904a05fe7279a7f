/** Commands of hosts and of other nodes enter; each is admitted here, or sent to the node of its first account. */
import { Clock, Effect, Fiber, Option, Result, Schedule } from "effect"
import { accountsOf, type Command } from "../domain/Command.ts"
import { type CommandError, Indeterminate, type Overloaded, Unavailable } from "../domain/Errors.ts"
import type { Head } from "../domain/Head.ts"
import type { AccountId } from "../domain/Ids.ts"
import type { Receipt } from "../domain/Receipt.ts"
import { ClusterConfig } from "../infra/ClusterConfig.ts"
import { LedgerConfig } from "../infra/LedgerConfig.ts"
import { type Answer, type Loan, type NotLent, NotMine, Placement } from "./Placement.ts"
import type { Settlement, Ticket } from "./Ticket.ts"
import type { Turns } from "./Turns.ts"
import type { UnderWay } from "./UnderWay.ts"

/** Commands of one batch that are admitted, or sent, at once. */
const chunkMax = 1_000
/** How often a shard that leaves looks whether all is settled, in milliseconds. */
const leaveLookMs = 5

type Outcome = Result.Result<Receipt, CommandError>

export interface ReceptionParts {
  readonly admit: (command: Command, resume: (settlement: Settlement) => void) => void
  readonly underWay: UnderWay
  readonly turns: Turns
  readonly overload: (what: string) => Overloaded
}

export const makeReception = Effect.fnUntraced(function* (parts: ReceptionParts) {
  const { admit, turns, underWay } = parts
  const placement = yield* Placement
  const limits = yield* LedgerConfig
  const cluster = yield* ClusterConfig
  const wall = yield* Clock.Clock
  /** Commands of ours that are at another node, or on their way. */
  let away = 0

  const firstOf = (command: Command): AccountId => accountsOf(command)[0] as AccountId // a command has an account
  const isHere = (command: Command) => placement.owns(firstOf(command))

  /** Admits a command now; the effect waits for what came of it. */
  const begin = (command: Command): Effect.Effect<Receipt, CommandError> => {
    let settled: Settlement | undefined
    let waiting: ((settlement: Settlement) => void) | undefined
    admit(command, (settlement) => {
      settled = settlement
      waiting?.(settlement)
    })
    return Effect.callback<Receipt, CommandError>((resume) => {
      if (settled !== undefined) resume(settled)
      else waiting = resume
    })
  }

  /** Waits until the accounts are in memory, so that a batch is decided in its order. */
  const warm = (commands: ReadonlyArray<Command>) => {
    const cold = new Set<AccountId>()
    for (const command of commands) {
      for (const id of accountsOf(command)) {
        if (turns.residents.peek(id)?.phase !== "ready" && placement.owns(id)) cold.add(id)
      }
    }
    return Effect.forEach(cold, (id) => Effect.ignore(turns.head(id)), {
      concurrency: "unbounded",
      discard: true
    })
  }

  /** Admits commands in order: none before those it shares an account with are decided. */
  const beginAll = Effect.fnUntraced(function* <A>(
    commands: ReadonlyArray<Command>,
    admitted: (command: Command) => A
  ) {
    yield* warm(commands)
    const undecided = new Map<AccountId, Ticket>()
    const results: Array<A> = []
    for (const command of commands) {
      const accounts = accountsOf(command)
      for (const id of accounts) {
        const before = undecided.get(id)
        if (before !== undefined)
          yield* Effect.callback<void>((go) => before.whenDecided(() => go(Effect.void)))
      }
      results.push(admitted(command))
      const ticket = underWay.get(command.commandId)
      for (const id of accounts) {
        if (ticket?.phase === "waiting") undecided.set(id, ticket)
        else undecided.delete(id)
      }
    }
    return results
  })

  /** Puts commands of one group to its owner until it takes them, or their patience ends. */
  const send = Effect.fnUntraced(function* (account: AccountId, commands: ReadonlyArray<Command>) {
    const outcomes = new Map<Command, Outcome>()
    const until = wall.currentTimeMillisUnsafe() + limits.commandDeadlineMs
    let open = commands
    for (;;) {
      const patience = until - wall.currentTimeMillisUnsafe()
      if (patience <= 0) break
      const answers = yield* ask(account, open, patience)
      // Whether it has been taken, and what came of it, cannot be known.
      if (answers === undefined) {
        for (const command of open) {
          const { commandId } = command
          outcomes.set(command, Result.fail(new Indeterminate({ commandId })))
        }
        return outcomes
      }
      const moved: Array<Command> = []
      for (const [index, command] of open.entries()) {
        const answer = answers[index]
        if (answer?._tag === "Done") outcomes.set(command, Result.succeed(answer.receipt))
        else if (answer?._tag === "Failed") outcomes.set(command, Result.fail(answer.error))
        else moved.push(command)
      }
      open = moved
      if (open.length === 0) return outcomes
      yield* Effect.sleep(cluster.retryMs)
    }
    const refusal = yield* Effect.flip(moving(account))
    for (const command of open) outcomes.set(command, Result.fail(refusal))
    return outcomes
  })

  /** Undefined when no answer came. The owner may have become this node. */
  const ask = (account: AccountId, commands: ReadonlyArray<Command>, patienceMs: number) =>
    placement.owns(account)
      ? Effect.map(dispatchHere(commands), (answers): ReadonlyArray<Answer> | undefined => answers)
      : placement.dispatch(account, commands).pipe(
          Effect.timeoutOption(patienceMs + cluster.answerGraceMs),
          Effect.map(Option.getOrUndefined),
          Effect.catch((error) => Effect.succeed(commands.map((): Answer => ({ _tag: "Failed", error }))))
        )

  const dispatchHere = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const begun = yield* beginAll(commands, (command) =>
      isHere(command) ? Effect.result(begin(command)) : undefined
    )
    return yield* Effect.forEach(begun, (one) =>
      one === undefined
        ? Effect.succeed<Answer>({ _tag: "Moved" })
        : Effect.map(
            one,
            (outcome): Answer =>
              Result.isSuccess(outcome)
                ? { _tag: "Done", receipt: outcome.success }
                : { _tag: "Failed", error: outcome.failure }
          )
    )
  })

  const forward = (account: AccountId, commands: ReadonlyArray<Command>) =>
    Effect.suspend((): Effect.Effect<ReadonlyMap<Command, Outcome>> => {
      if (away + commands.length > limits.inFlightMax) {
        const refusal = Result.fail(parts.overload("this node"))
        return Effect.succeed(new Map(commands.map((command) => [command, refusal])))
      }
      away += commands.length
      return Effect.ensuring(
        send(account, commands),
        Effect.sync(() => {
          away -= commands.length
        })
      )
    })

  const outcomeOf = (outcomes: ReadonlyMap<Command, Outcome>, command: Command): Outcome =>
    outcomes.get(command) ?? Result.fail(new Indeterminate({ commandId: command.commandId }))

  const dispatch = (command: Command): Effect.Effect<Receipt, CommandError> =>
    Effect.suspend(() =>
      isHere(command)
        ? Effect.callback<Receipt, CommandError>((resume) => admit(command, resume))
        : Effect.flatMap(forward(firstOf(command), [command]), (outcomes) =>
            Effect.fromResult(outcomeOf(outcomes, command))
          )
    )

  /** Sends each group of the chunk to its owner and admits the rest; the effects wait for what came of them. */
  const dispatchChunk = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const groups = new Map<number, Array<Command>>()
    const ours: Array<Command> = []
    for (const command of commands) {
      if (isHere(command)) {
        ours.push(command)
        continue
      }
      const group = placement.groupOf(firstOf(command))
      const others = groups.get(group)
      if (others === undefined) groups.set(group, [command])
      else others.push(command)
    }
    const results = new Map<Command, Effect.Effect<Outcome>>()
    for (const group of groups.values()) {
      const first = group[0]
      if (first === undefined) continue
      const sent = yield* Effect.forkChild(forward(firstOf(first), group))
      for (const command of group) {
        results.set(
          command,
          Effect.map(Fiber.join(sent), (outcomes) => outcomeOf(outcomes, command))
        )
      }
    }
    const begun = yield* beginAll(ours, (command) => Effect.result(begin(command)))
    for (const [index, command] of ours.entries())
      results.set(command, begun[index] as Effect.Effect<Outcome>) // one each
    return commands.map((command) => results.get(command) as Effect.Effect<Outcome>) // each is ours or in a group
  })

  const dispatchMany = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const results: Array<Effect.Effect<Outcome>> = []
    for (let start = 0; start < commands.length; start += chunkMax) {
      results.push(...(yield* dispatchChunk(commands.slice(start, start + chunkMax))))
    }
    return yield* Effect.all(results)
  })

  const headHere = (account: AccountId): Effect.Effect<Head, NotMine | Unavailable> =>
    Effect.suspend(() => (placement.owns(account) ? turns.head(account) : notMine))

  const head = (account: AccountId): Effect.Effect<Head, Unavailable> =>
    Effect.suspend(() => (placement.owns(account) ? turns.head(account) : placement.head(account))).pipe(
      Effect.retry({ while: isMoving, schedule: Schedule.spaced(cluster.retryMs) }),
      Effect.catchTag("NotMine", () => moving(account)),
      Effect.timeoutOrElse({ duration: limits.queryDeadlineMs, orElse: () => moving(account) })
    )

  const leave = (isForeign: (account: AccountId) => boolean) =>
    Effect.sync(() => turns.residents.dropForeign(isForeign)).pipe(
      Effect.repeat({ until: (inUse) => inUse === 0, schedule: Schedule.spaced(leaveLookMs) }),
      Effect.timeoutOption(cluster.drainMs),
      Effect.asVoid
    )

  const here = {
    dispatch: dispatchHere,
    head: headHere,
    lend: (account: AccountId, lease: string): Effect.Effect<Loan, NotLent> =>
      Effect.suspend(() => (placement.owns(account) ? turns.lending.lend(account, lease) : notMine)),
    takeBack: turns.lending.takeBack,
    enter: turns.residents.distrust,
    leave
  }
  return { dispatch, dispatchMany, head, here, away: () => away }
})

const notMine: Effect.Effect<never, NotMine | Unavailable> = Effect.fail(new NotMine())

const isMoving = (error: NotMine | Unavailable): boolean => error._tag === "NotMine"

const moving = (account: AccountId) =>
  Effect.fail(new Unavailable({ what: `account ${account}`, reason: "it is moving to another node" }))
