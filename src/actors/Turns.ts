/** Tickets enter; each takes its turn as soon as all its actors are in memory, and leaves for the commit queue. */
import { Effect, Exit, Result } from "effect"
import type { Unavailable } from "../domain/Errors.ts"
import type { BrokenLog, Head } from "../domain/Head.ts"
import type { AccountId } from "../domain/Ids.ts"
import { LedgerConfig } from "../infra/LedgerConfig.ts"
import { type AccountActor, takeTurn } from "./AccountActor.ts"
import type { CommitQueue } from "./CommitQueue.ts"
import { LedgerClock } from "./LedgerClock.ts"
import { makeResidents } from "./Residents.ts"
import type { Settlement, Ticket } from "./Ticket.ts"
import { type UnderWay, unavailable } from "./UnderWay.ts"

/** Defects that one command may cause before it fails with them. */
const defectsMax = 2

export interface TurnsOptions {
  readonly queue: CommitQueue
  readonly underWay: UnderWay
  /** Why commands must be refused now, or `undefined`. */
  readonly refusal: () => string | undefined
  readonly overloaded: (what: string) => Settlement
  /** The queue has something new. */
  readonly onQueued: () => void
}

/** Starts the loaders in the scope. */
export const makeTurns = Effect.fnUntraced(function* (options: TurnsOptions) {
  const { queue, underWay } = options
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock

  /** Finds the actors of a ticket; decides it when all are ready, else leaves it with the first that is not. */
  const route = (ticket: Ticket): void => {
    if (ticket.phase === "settled") return
    const refusal = options.refusal()
    if (refusal !== undefined) return underWay.giveUp(ticket, "this node", refusal)
    const now = clock.nowUnsafe()
    const actors: Array<AccountActor> = []
    for (const id of ticket.accounts) {
      const actor = residents.get(id, now)
      if (actor === undefined) return underWay.finish(ticket, options.overloaded("memory for accounts"))
      actors.push(actor)
    }
    const loading = actors.find((actor) => actor.phase !== "ready")
    if (loading !== undefined) {
      loading.mailbox.push(ticket)
      return
    }
    const turn = Result.try(() => takeTurn(ticket, actors, now))
    if (Result.isFailure(turn)) return crash(ticket, actors, turn.failure)
    queue.push(ticket)
    options.onQueued()
  }

  /** Let it crash: the actors are rebuilt from the log, what waited on them is decided again. */
  const crash = (ticket: Ticket, actors: ReadonlyArray<AccountActor>, defect: unknown): void => {
    ticket.attempts++
    const stale = new Set(actors)
    const evicted = queue.evict((one) => one.touched.some((actor) => stale.has(actor)))
    for (const actor of stale) residents.reload(actor)
    if (ticket.attempts >= defectsMax) underWay.finish(ticket, Exit.die(defect))
    for (const one of [...evicted, ticket]) route(one)
  }

  const residents = yield* makeResidents({
    onReady: (actor) => {
      const { mailbox, readers } = actor
      actor.mailbox = []
      actor.readers = new Set()
      for (const ticket of mailbox) route(ticket)
      for (const reader of readers) reader(Exit.succeed(actor.committed))
    },
    onBroken: (actor, broken: BrokenLog) => {
      const failure = unavailable(`account ${actor.id}`, broken.message)
      for (const ticket of actor.mailbox) underWay.finish(ticket, failure)
      for (const reader of actor.readers) reader(failure)
    },
    onUnavailable: (reason) => {
      underWay.trouble = reason
    }
  })

  /** Lets actors that wait for their last ticket in flight be rebuilt, now that one more has landed. */
  const reloadIfLanded = (ids: ReadonlyArray<AccountId>): void => {
    for (const id of ids) {
      const actor = residents.peek(id)
      if (actor?.phase === "loading" && actor.uncommitted === 0) residents.reload(actor)
    }
  }

  const head = (account: AccountId): Effect.Effect<Head, Unavailable> =>
    Effect.callback<Head, Unavailable>((resume) => {
      const actor = residents.get(account, clock.nowUnsafe())
      if (actor === undefined) return resume(unavailable("this node", "memory for accounts is full"))
      if (actor.phase === "ready") return resume(Exit.succeed(actor.committed))
      actor.readers.add(resume)
      return Effect.sync(() => actor.readers.delete(resume))
    }).pipe(
      Effect.timeoutOrElse({
        duration: limits.queryDeadlineMs,
        orElse: () => unavailable("event store", underWay.trouble)
      })
    )

  return {
    residents,
    route,
    reloadIfLanded,
    /** The committed head of an account, from its actor. */
    head,
    /** Decides evicted tickets again, in their order, after the stale actors are rebuilt. */
    again: (tickets: ReadonlyArray<Ticket>, stale: ReadonlySet<AccountActor>): void => {
      for (const actor of stale) residents.reload(actor)
      for (const ticket of tickets) {
        reloadIfLanded(ticket.accounts)
        if (ticket.attempts <= limits.redecideMax) route(ticket)
        else {
          const reason = `conflicts with another writer ${ticket.attempts} times over`
          underWay.giveUp(ticket, "this account", reason)
        }
      }
    }
  }
})

export type Turns = Effect.Success<ReturnType<typeof makeTurns>>
