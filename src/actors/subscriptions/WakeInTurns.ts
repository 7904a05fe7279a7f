/** Many fibers that wait for one thing are woken some at a time, so that others of the node have a turn in between, commands among them. */
import { Deferred, Effect } from "effect"

/** Those that are woken in one turn: for readers of streams, who print and write in it, about half a millisecond. */
const wokenAtOnce = 6
/** Who is due is woken in so many turns at most, however many they are: what comes next for all of them waits until then. */
const turnsMax = 40

/** Fibers that wait for one thing, in groups that are each woken in one turn. */
export class Waiters<A> {
  #groups = new Set<WaitingGroup<A>>()
  /** The group that takes those that come. */
  #last: WaitingGroup<A> | undefined

  /**
   * Completes when what comes next is told; at once where `isOver` says that there is nothing to wait for. That is asked in the turn in which the
   * fiber joins: what is told between a question before it and the wait would be missed.
   */
  nextUnless(isOver: () => boolean): Effect.Effect<A | undefined> {
    return Effect.suspend(() => {
      if (isOver()) return Effect.undefined
      const group = this.#open()
      group.count++
      return Effect.onInterrupt(Deferred.await(group.told), () => Effect.sync(() => this.#leave(group)))
    })
  }

  /** All that wait. Those that come later wait for what comes after. */
  take(): ReadonlyArray<WaitingGroup<A>> {
    const all = [...this.#groups]
    this.#groups = new Set()
    this.#last = undefined
    return all
  }

  #open(): WaitingGroup<A> {
    if (this.#last !== undefined && this.#last.count < wokenAtOnce) return this.#last
    const group = { told: Deferred.makeUnsafe<A>(), count: 0 }
    this.#groups.add(group)
    this.#last = group
    return group
  }

  /** A group in which no fiber waits any more is not kept. */
  #leave(group: WaitingGroup<A>): void {
    if (--group.count > 0 || !this.#groups.delete(group)) return
    if (this.#last === group) this.#last = undefined
  }
}

export interface WaitingGroup<A> {
  readonly told: Deferred.Deferred<A>
  count: number
}

/** What is to be woken, in order. */
export class WakeQueue {
  #due: Array<{ readonly wake: () => void; readonly count: number }> = []

  /** `count`: the fibers that it wakes. */
  add(wake: () => void, count = 1): void {
    this.#due.push({ wake, count })
  }

  addAll<A>(groups: ReadonlyArray<WaitingGroup<A>>, told: A): void {
    for (const group of groups)
      this.add(() => Deferred.doneUnsafe(group.told, Effect.succeed(told)), group.count)
  }

  /** Wakes all that are due. Where it is interrupted the rest stays due, until it is run again. */
  readonly wakeAll: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    const due = this.#due.reduce((sum, { count }) => sum + count, 0)
    const aTurn = Math.max(wokenAtOnce, Math.ceil(due / turnsMax))
    while (this.#due.length > 0) {
      this.#wakeSome(aTurn)
      if (this.#due.length > 0) yield* Effect.yieldNow
    }
  })

  /** One turn. */
  #wakeSome(aTurn: number): void {
    let [taken, woken] = [0, 0]
    for (const { count } of this.#due) {
      if (taken > 0 && woken + count > aTurn) break
      taken++
      woken += count
    }
    for (const { wake } of this.#due.splice(0, taken)) wake()
  }
}
