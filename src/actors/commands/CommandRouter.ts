/** Commands of hosts and of other nodes enter; each is admitted here, or sent to the node of its first account. */
import { Effect, Fiber, Schedule } from "effect"
import { accountsOf, type Command, firstAccountOf } from "../../domain/Command.ts"
import { type CommandError, Indeterminate, type Overloaded, type Unavailable } from "../../domain/Errors.ts"
import type { Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import type { CommandExit, PendingCommand } from "../accounts/Lifecycle.ts"
import { type Answer, type Loan, type NotLent, NotMine, Placement } from "../accounts/Placement.ts"
import { type CommandExecutor, movedAway } from "./CommandExecutor.ts"
import { makeForwarding, moving, type Outcome } from "./Forwarding.ts"
import type { InFlightCommands } from "./InFlightCommands.ts"

/** Commands of one batch that are admitted, or sent, at once. */
const chunkMax = 1_000
/** Chunks of one `dispatchMany` that are under way at once. */
const chunksMax = 2
/** How often a shard that leaves looks whether all is settled, in milliseconds. */
const leaveLookMs = 5

/** `isPaced`: whoever sends it waits for the answers to some before it sends more. */
export type Admit = (command: Command, resume: (settlement: CommandExit) => void, isPaced: boolean) => void

export interface CommandRouterParts {
  readonly admit: Admit
  readonly underWay: InFlightCommands
  readonly turns: CommandExecutor
  readonly overload: (what: string) => Overloaded
  /** This node takes no more: who asks is to ask again, elsewhere. */
  readonly isClosing: () => boolean
}

export const makeCommandRouter = Effect.fnUntraced(function* (parts: CommandRouterParts) {
  const { admit, turns, underWay } = parts
  const placement = yield* Placement
  const limits = yield* LedgerConfig
  const cluster = yield* ClusterConfig
  const isHere = (command: Command) => placement.owns(firstAccountOf(command))

  /** Admits a command now; the effect waits for what came of it. */
  const begin = (command: Command, isForwarded = false): Effect.Effect<Receipt, CommandError> => {
    let settled: CommandExit | undefined
    let waiting: ((settlement: CommandExit) => void) | undefined
    admit(
      command,
      (settlement) => {
        settled = settlement
        waiting?.(settlement)
      },
      true
    )
    if (isForwarded) {
      const ticket = underWay.get(command.commandId)
      if (ticket !== undefined) ticket.isForwarded = true
    }
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
    const undecided = new Map<AccountId, PendingCommand>()
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

  const dispatchHere = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const begun = yield* beginAll(commands, (command) =>
      isHere(command) && !parts.isClosing() ? answerOf(command, begin(command, true)) : moved
    )
    return yield* Effect.all(begun)
  })

  const { forward, away } = yield* makeForwarding({ overload: parts.overload, dispatchHere })

  const dispatch = (command: Command): Effect.Effect<Receipt, CommandError> =>
    Effect.callback<Receipt, CommandError>((resume) => {
      if (isHere(command)) admit(command, resume, false)
      else resume(sendOn(command))
    })

  const sendOn = (command: Command): Effect.Effect<Receipt, CommandError> =>
    Effect.flatMap(forward(firstAccountOf(command), [command]), ([outcome]) =>
      outcome === undefined ? Effect.die("a command has no outcome") : Effect.fromResult(outcome)
    )

  const dispatchMany = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const results = new Array<Effect.Effect<Outcome>>(commands.length)
    const ours: Array<number> = []
    const groups = new Map<number, Array<number>>()
    for (const [index, command] of commands.entries()) {
      if (isHere(command)) {
        ours.push(index)
        continue
      }
      const group = placement.groupOf(firstAccountOf(command))
      const others = groups.get(group)
      if (others === undefined) groups.set(group, [index])
      else others.push(index)
    }
    const at = (index: number): Command => commands[index] as Command // the indices are those of commands
    for (const group of groups.values()) {
      const sent = yield* Effect.forkChild(forward(firstAccountOf(at(group[0] ?? 0)), group.map(at)))
      for (const [nth, index] of group.entries()) {
        results[index] = Effect.map(Fiber.join(sent), (outcomes) => outcomes[nth] as Outcome) // one a command
      }
    }
    for (let start = 0; start < ours.length; start += chunkMax) {
      // However long a batch is, it alone does not fill the node: of its own commands few chunks are in the air.
      const landed = ours.slice(
        Math.max(0, start - chunksMax * chunkMax),
        Math.max(0, start - (chunksMax - 1) * chunkMax)
      )
      for (const index of landed) yield* results[index] as Effect.Effect<Outcome> // set two rounds ago
      const chunk = ours.slice(start, start + chunkMax)
      const begun = yield* beginAll(chunk.map(at), (command) => Effect.result(begin(command)))
      for (const [nth, index] of chunk.entries()) results[index] = begun[nth] as Effect.Effect<Outcome> // one a command
    }
    return yield* Effect.all(results)
  })

  const isServed = (account: AccountId): boolean => placement.owns(account) && !parts.isClosing()

  /** While this node waited, or was frozen, the account may have gone: what it knew is no answer then. */
  const headOfOurs = (account: AccountId): Effect.Effect<Head, NotMine | Unavailable> =>
    Effect.filterOrFail(
      turns.head(account),
      () => placement.owns(account),
      () => new NotMine()
    )

  const headHere = (account: AccountId): Effect.Effect<Head, NotMine | Unavailable> =>
    Effect.suspend(() => (isServed(account) ? headOfOurs(account) : notMine))

  const head = (account: AccountId): Effect.Effect<Head, Unavailable> =>
    Effect.suspend(() => (placement.owns(account) ? headOfOurs(account) : placement.head(account))).pipe(
      Effect.retry({ while: isMoving, schedule: Schedule.spaced(cluster.retryMs) }),
      Effect.catchTag("NotMine", () => Effect.fail(moving(account))),
      Effect.timeoutOrElse({ duration: limits.queryDeadlineMs, orElse: () => Effect.fail(moving(account)) })
    )

  const leave = (isForeign: (group: number) => boolean) =>
    Effect.sync(() => turns.residents.evictNotOwned(isForeign)).pipe(
      Effect.repeat({ until: (inUse) => inUse === 0, schedule: Schedule.spaced(leaveLookMs) }),
      Effect.timeoutOption(cluster.drainMs),
      Effect.asVoid
    )

  const here = {
    owns: isServed,
    dispatch: dispatchHere,
    head: headHere,
    lend: (account: AccountId, lease: string): Effect.Effect<Loan, NotLent> =>
      Effect.suspend(() => (isServed(account) ? turns.lending.lend(account, lease) : notMine)),
    takeBack: turns.lending.release,
    enter: turns.residents.invalidate,
    leave
  }
  return { dispatch, dispatchMany, head, here, away }
})

const notMine: Effect.Effect<never, NotMine | Unavailable> = Effect.fail(new NotMine())

const isMoving = (error: NotMine | Unavailable): boolean => error._tag === "NotMine"

const moved = Effect.succeed<Answer>({ _tag: "Moved" })

const answerOf = (command: Command, outcome: Effect.Effect<Receipt, CommandError>): Effect.Effect<Answer> =>
  outcome.pipe(
    Effect.match({
      onSuccess: (receipt): Answer => ({ _tag: "Done", receipt }),
      onFailure: (error): Answer => (error === movedAway ? { _tag: "Moved" } : { _tag: "Failed", error })
    }),
    // A defect stays here, where it is logged; the caller does not know more than that.
    Effect.catchDefect(() =>
      Effect.succeed<Answer>({ _tag: "Failed", error: new Indeterminate({ commandId: command.commandId }) })
    )
  )
