/**
 * Shares one reading of the log's end among all that follow it: a bounded list of the batches that one of them has not taken, and a seat for each
 * follower. A batch tells each seat once that it holds something for it; any other seat costs nothing, however often the log changes.
 * A seat that is not emptied before its first batch is dropped from the list is lost: its follower reads the log by itself.
 *
 * A subscription takes its seat without a gap and without a repetition by a *cut*, the moment up to which it has read everything. It waits
 * for the next cut of the reader, and reads up to the same one by itself: all that was published for that cut and those before it is
 * in what it has read, and nothing of a later one.
 */
import { Effect, Latch, Result } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { bytesOf } from "../../domain/StoredEvent.ts"
import { FollowerIndex } from "./FollowerIndex.ts"
import type { ListedCut } from "./MergedTails.ts"
import type { SharedCommit, SharedEvent } from "./SharedEvent.ts"
import { Waiters, type WaitingGroup, WakeQueue } from "./WakeInTurns.ts"

/** The places of all commits that are kept, in characters: each is printed with its commit. */
const printedMax = 16_000_000
/** An event counts for one in so many characters of it: most are smaller, those of journals with the longest metadata several times as large. */
const eventBytes = 2_000
/** Events that are noted for those that follow them take so much less room than the event itself. */
const notesAnEvent = 16

interface SharedBatch {
  /** The number of the reader's cut that contains it. */
  readonly cut: number
  readonly commits: ReadonlyArray<SharedCommit>
  /** The places in the log before and after all of them. */
  readonly before: string
  readonly after: string
  /** Its events by what follows them. */
  readonly found: Map<Followed, ReadonlyArray<SharedEvent>>
  /** How many events it counts for, and how many characters were printed for it. */
  readonly weight: number
  readonly printed: number
}

/** Where a subscription is to take its seat: at which batch, in which life of the reader. */
export interface SharedPlace {
  readonly index: number
  readonly life: number
  /** The cut up to which the subscription has read. */
  readonly cut: number
}

/** A cut that the reader takes and others wait for. */
interface JointCut {
  readonly place: SharedPlace
  readonly listed: ListedCut
}

/** An account or a prefix, with the seats of all that follow it. */
class Followed {
  readonly seats = new Set<SharedSeat>()
}

/** A place in the log, and the cut of the reader that it lies in. */
export interface SharedPoint {
  readonly cut: number
  readonly cursor: string
}

export interface SharedFind {
  readonly batch: SharedBatch
  readonly events: ReadonlyArray<SharedEvent>
}

/** The place of one follower. */
export class SharedSeat {
  readonly #followed: Followed
  readonly #batchAt: (index: number) => SharedBatch | undefined
  readonly #latch = Latch.makeUnsafe(false)
  /** The batches that hold something for it, in order. */
  #pending: Array<number> = []
  #lostAt: SharedPoint | undefined
  /** Runs in place of a fiber that waits. */
  #onWake: (() => void) | undefined

  constructor(followed: Followed, batchAt: (index: number) => SharedBatch | undefined, leave: () => void) {
    this.#followed = followed
    this.#batchAt = batchAt
    this.leave = leave
  }

  get hasSome(): boolean {
    return this.#pending.length > 0
  }

  get first(): number {
    return this.#pending[0] ?? Number.POSITIVE_INFINITY
  }

  /** Where its follower is to read on by itself; undefined while it follows. */
  get lostAt(): SharedPoint | undefined {
    return this.#lostAt
  }

  /** Completes when there is something for it, or it is lost. */
  get changed(): Effect.Effect<void> {
    return this.#latch.await
  }

  /**
   * Runs `take` in each turn that wakes it, until that answers that it goes on no further or leaves something, or the seat is lost; completes
   * then, and at once where there is something already.
   */
  handOn(take: () => boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (this.hasSome || this.#lostAt !== undefined) return resume(Effect.void)
      const end = (exit: Effect.Effect<void>): void => {
        this.#onWake = undefined
        resume(exit)
      }
      this.#onWake = () => {
        // A bug of one reader: the others of the turn are woken all the same.
        const goesOn = Result.try({
          try: () => this.#lostAt === undefined && take(),
          catch: (defect) => defect
        })
        if (Result.isFailure(goesOn)) end(Effect.die(goesOn.failure))
        else if (!goesOn.success || this.hasSome) end(Effect.void)
      }
      return Effect.sync(() => {
        this.#onWake = undefined
      })
    })
  }

  readonly leave: () => void

  add(index: number): void {
    this.#pending.push(index)
  }

  /** Nothing is done where it was emptied before its turn came. */
  wake(): void {
    if (!this.hasSome && this.#lostAt === undefined) return
    if (this.#onWake === undefined) this.#latch.openUnsafe()
    else this.#onWake()
  }

  /** To be woken. */
  lose(at: SharedPoint): void {
    this.#pending = []
    this.#lostAt = at
  }

  /** What it has not had yet, up to about so many events. */
  take(eventsMax: number): ReadonlyArray<SharedFind> {
    const finds: Array<SharedFind> = []
    let taken = 0
    let events = 0
    for (const index of this.#pending) {
      if (events >= eventsMax) break
      taken++
      const batch = this.#batchAt(index)
      const found = batch?.found.get(this.#followed)
      if (batch === undefined || found === undefined) continue
      finds.push({ batch, events: found })
      events += found.length
    }
    this.#pending.splice(0, taken)
    if (this.#pending.length === 0 && this.#lostAt === undefined) this.#latch.closeUnsafe()
    return finds
  }
}

const batchOf = (
  cut: number,
  commits: ReadonlyArray<SharedCommit>,
  before: string,
  after: string,
  found: SharedBatch["found"]
): SharedBatch => {
  let [weight, printed] = [0, 0]
  for (const commit of commits) {
    for (const { row } of commit.events) weight += Math.ceil(bytesOf(row) / eventBytes)
    // Each event is printed with its place as well, for streams of HTTP.
    printed += (commit.before.length + commit.after.length) * (1 + commit.events.length)
  }
  let notes = 0
  for (const events of found.values()) notes += events.length
  return { cut, commits, before, after, found, weight: weight + Math.ceil(notes / notesAnEvent), printed }
}

export class SharedList {
  readonly #eventsMax: number
  /** Each start of the reader is another life: places of an earlier one are gone. */
  #life = 0
  #isReading = false
  /** The number of the cut that the reader began last. */
  #cut = 0
  /** Those that wait for the next cut, and for the one that is being taken. */
  readonly #wanted = new Waiters<JointCut | undefined>()
  #promised: ReadonlyArray<WaitingGroup<JointCut | undefined>> = []
  #batches: Array<SharedBatch> = []
  /** The index of the first batch that is kept. */
  #first = 0
  #events = 0
  #printed = 0
  /** Of the last batch that was published. */
  #end: SharedPoint = { cut: 0, cursor: "" }
  readonly #changes = new Waiters<void>()
  readonly #due = new WakeQueue()
  readonly #index = new FollowerIndex<Followed>()
  /** Those that have something to take. */
  readonly #waiting = new Set<SharedSeat>()
  /** How many were told of a place and have not taken a seat there, by its index. One that ended in between is forgotten with the batch. */
  readonly #promisedAt = new Map<number, number>()

  constructor(eventsMax: number) {
    this.#eventsMax = eventsMax
  }

  get isReading(): boolean {
    return this.#isReading
  }

  /** The place in the log after everything that was published. */
  get end(): SharedPoint {
    return this.#end
  }

  /** From now on, which is this place in the log, every commit that the log gets will be in the list. */
  begin(cursor: string): void {
    this.#life++
    this.#isReading = true
    this.#end = { cut: this.#cut, cursor }
  }

  /** All who follow it read by themselves; they are to be woken. */
  finish(): void {
    this.#isReading = false
    this.#life++
    for (const { seats } of this.#index.all()) for (const seat of [...seats]) this.#lose(seat)
    this.#batches = []
    this.#promisedAt.clear()
    this.#events = this.#printed = 0
    this.#due.addAll([...this.#wanted.take(), ...this.#promised], undefined)
    this.#promised = []
    this.#due.addAll(this.#changes.take(), undefined)
  }

  /** Wakes all for whom there is something since it was run last, some at a time. */
  get wakeAll(): Effect.Effect<void> {
    return this.#due.wakeAll
  }

  /** Around each listing of the reader, which those that wait for its next cut are told of. */
  readonly takingCut = <E>(list: Effect.Effect<ListedCut, E>): Effect.Effect<ListedCut, E> =>
    Effect.suspend(() => {
      const promised = this.#wanted.take()
      this.#promised = promised
      const place = { index: this.#first + this.#batches.length, life: this.#life, cut: ++this.#cut }
      return Effect.tap(list, (listed) => {
        const count = promised.reduce((sum, group) => sum + group.count, 0)
        if (count > 0) this.#promisedAt.set(place.index, (this.#promisedAt.get(place.index) ?? 0) + count)
        this.#due.addAll(promised, { place, listed })
        return this.#due.wakeAll
      })
    })

  /** The next cut that the reader begins after this call; undefined where no reader takes one. */
  get nextCut(): Effect.Effect<JointCut | undefined> {
    return this.#wanted.nextUnless(() => !this.#isReading)
  }

  /** Answers the seats that it holds something for; they, and those that are lost by it, are to be woken. */
  publish(commits: ReadonlyArray<SharedCommit>, after: string): ReadonlyArray<SharedSeat> {
    const batch = batchOf(this.#cut, commits, this.#end.cursor, after, this.#find(commits))
    const index = this.#first + this.#batches.length
    this.#batches.push(batch)
    this.#weigh(batch, 1)
    this.#end = { cut: batch.cut, cursor: after }
    const told: Array<SharedSeat> = []
    for (const { seats } of batch.found.keys())
      for (const seat of seats) {
        this.#tell(seat, index)
        this.#due.add(() => seat.wake())
        told.push(seat)
      }
    // What all have taken is let go: if it were kept, collections of the young heap would copy it. The last batch stays, however large it is.
    const neededFrom = this.#neededFrom()
    while (
      this.#batches.length > 1 &&
      (this.#first < neededFrom || this.#events > this.#eventsMax || this.#printed > printedMax)
    )
      this.#dropOldest()
    this.#due.addAll(this.#changes.take(), undefined)
    return told
  }

  /** The seat of one that follows all accounts of a prefix, with what was published from its place on; undefined where that is gone. */
  takeSeat(place: SharedPlace, prefix: string): SharedSeat | undefined {
    const { index, life } = place
    this.letGo(place)
    if (life !== this.#life || index < this.#first) return undefined
    const followed = this.#index.ofPrefix(prefix, () => new Followed())
    const seat = this.#seatOf(followed, () => this.#index.dropPrefix(prefix))
    this.#catchUp(seat, followed, index, prefix)
    return seat
  }

  /** To be called once by one that was told of a place and takes no seat there. */
  letGo({ index, life }: SharedPlace): void {
    if (life !== this.#life) return
    const others = (this.#promisedAt.get(index) ?? 0) - 1
    if (others > 0) this.#promisedAt.set(index, others)
    else this.#promisedAt.delete(index)
  }

  /** The seat of one that follows an account, with what is published from now on. */
  takeSeatOf(account: AccountId): SharedSeat {
    const followed = this.#index.ofAccount(account, () => new Followed())
    return this.#seatOf(followed, () => this.#index.dropAccount(account))
  }

  /** Completes at the next batch after it is run, or when the reader ends; at once where there is something for the seat, or it is lost. */
  changedAt(seat: SharedSeat): Effect.Effect<void> {
    return this.#changes.nextUnless(() => seat.hasSome || seat.lostAt !== undefined)
  }

  #find(commits: ReadonlyArray<SharedCommit>): Map<Followed, Array<SharedEvent>> {
    const found = new Map<Followed, Array<SharedEvent>>()
    for (const { events } of commits)
      for (const event of events)
        this.#index.find(event.row.accountId, (followed) => {
          const own = found.get(followed)
          if (own === undefined) found.set(followed, [event])
          else own.push(event)
        })
    return found
  }

  #seatOf(followed: Followed, drop: () => void): SharedSeat {
    const seat = new SharedSeat(
      followed,
      (index) => this.#batches[index - this.#first],
      () => {
        this.#waiting.delete(seat)
        if (followed.seats.delete(seat) && followed.seats.size === 0) drop()
      }
    )
    followed.seats.add(seat)
    return seat
  }

  /** Finds what was published before the seat was taken. */
  #catchUp(seat: SharedSeat, followed: Followed, from: number, prefix: string): void {
    for (let index = from; index < this.#first + this.#batches.length; index++) {
      const batch = this.#batches[index - this.#first]
      if (batch === undefined) continue
      let events = batch.found.get(followed)
      if (events === undefined) {
        const all = batch.commits.flatMap((commit) => commit.events)
        events = all.filter(({ row }) => row.accountId.startsWith(prefix))
        batch.found.set(followed, events)
      }
      if (events.length > 0) this.#tell(seat, index)
    }
    if (seat.hasSome) seat.wake()
  }

  #tell(seat: SharedSeat, index: number): void {
    seat.add(index)
    this.#waiting.add(seat)
  }

  /** The index of the first batch that a seat has not taken, or that is kept for one that was told of a place. */
  #neededFrom(): number {
    let from = Math.min(...this.#promisedAt.keys())
    for (const seat of this.#waiting) {
      if (!seat.hasSome) this.#waiting.delete(seat)
      else from = Math.min(from, seat.first)
    }
    return from
  }

  #dropOldest(): void {
    this.#promisedAt.delete(this.#first)
    for (const seat of this.#waiting) {
      if (!seat.hasSome) this.#waiting.delete(seat)
      else if (seat.first <= this.#first) this.#lose(seat)
    }
    const oldest = this.#batches.shift()
    this.#first++
    if (oldest !== undefined) this.#weigh(oldest, -1)
  }

  #lose(seat: SharedSeat): void {
    const first = this.#batches[seat.first - this.#first]
    // From here on it is told nothing: its follower reads on from this place.
    seat.leave()
    seat.lose(first === undefined ? this.#end : { cut: first.cut, cursor: first.before })
    this.#due.add(() => seat.wake())
  }

  #weigh({ weight, printed }: SharedBatch, sign: 1 | -1): void {
    this.#events += sign * weight
    this.#printed += sign * printed
  }
}
