/**
 * Which connected node owns which shard, by what the nodes say of themselves. A request to a shard that no connected node
 * owns just now waits a moment for its next owner, because a shard that moves has no owner for a moment.
 */
import { Effect, Exit } from "effect"
import type { PeerConversation } from "./PeerConversation.ts"
import {
  type AskPeer,
  notOwned,
  type PeerNotice,
  type PeerRequest,
  type PeerResponse,
  type SendToPeer,
  Unanswered
} from "./PeerMessages.ts"

/** The caller of a request, until it has its answer. */
type Resume = (answer: Exit.Exit<PeerResponse, Unanswered>) => void

/** A request to a shard without a known owner. */
interface Waiting {
  readonly request: PeerRequest
  readonly resume: Resume
  looks: number
  /** How to say that its caller has gone. */
  forget: (() => void) | undefined
}

/** A request for a lease that its home has not answered. It waits there for as long as others have the account. */
interface Asked {
  readonly home: PeerConversation
  readonly request: PeerRequest
  readonly resume: Resume
  /** How to say that its caller has gone. */
  forget: (() => void) | undefined
}

/** A request that has waited over so many looks is answered: nothing was done, ask again. */
const looksMax = 3

export class PeerRoutes {
  /** True where the shard is this node's. */
  readonly #owned: ReadonlyArray<boolean>
  readonly #waitingMax: number
  readonly #homes = new Map<number, PeerConversation>()
  /** The names of the nodes that said last of a shard that it is theirs, connected or not. */
  readonly #names = new Map<number, string>()
  /** Of each lease that this node asked for and has not returned, the node that was asked. */
  readonly #leasedFrom = new Map<string, PeerConversation>()
  readonly #leaseRequests = new Map<number, Set<Asked>>()
  readonly #waiting = new Map<number, Set<Waiting>>()
  #waitingCount = 0

  constructor(owned: ReadonlyArray<boolean>, waitingMax: number) {
    this.#owned = owned
    this.#waitingMax = waitingMax
  }

  /** Requests that wait for an owner. */
  get waiting(): number {
    return this.#waitingCount
  }

  readonly send: SendToPeer = (shard, request) =>
    Effect.callback<PeerResponse, Unanswered>((resume) => {
      const forget = this.ask(shard, request, resume)
      return forget === undefined ? undefined : Effect.sync(forget)
    })

  readonly ask: AskPeer = (shard, request, resume) => {
    const home = this.#homeOf(shard, request)
    if (home !== undefined) return this.#ask(shard, home, request, resume)
    // It came to this node since the caller looked.
    if (this.#owned[shard] === true) return void resume(Exit.succeed(notOwned(request)))
    const waiting = this.#wait(shard, request, resume)
    if (waiting === undefined) return void resume(Exit.fail(new Unanswered({ reason: "full" })))
    return () => waiting.forget?.()
  }

  /** Says what needs no answer to the node that it is for. False where that is not known, or has to be asked. */
  tell(shard: number, request: PeerNotice): boolean {
    const isSaid = this.#homeOf(shard, request)?.tell(request) ?? false
    if (isSaid) this.#leasedFrom.delete(request.lease)
    return isSaid
  }

  /**
   * An account goes back to the node that leased it, also where that one does not own the shard any more: it gives the shard up, and is
   * waiting for the account. The next owner of the shard would know of no such lease.
   */
  #homeOf(shard: number, request: PeerRequest): PeerConversation | undefined {
    const owner = request._tag === "GiveBack" ? this.#leasedFrom.get(request.lease) : undefined
    return owner ?? this.#homes.get(shard)
  }

  #ask(
    shard: number,
    home: PeerConversation,
    request: PeerRequest,
    resume: Resume
  ): (() => void) | undefined {
    if (request._tag === "GiveBack") this.#leasedFrom.delete(request.lease)
    if (request._tag !== "Borrow") return home.ask(request, resume)
    this.#leasedFrom.set(request.lease, home)
    const asked: Asked = { home, request, resume, forget: undefined }
    const all = this.#leaseRequests.get(shard) ?? new Set()
    this.#leaseRequests.set(shard, all)
    all.add(asked)
    asked.forget = home.ask(request, (answer) => {
      if (this.#end(shard, asked)) resume(answer)
    })
    return () => {
      if (this.#end(shard, asked)) asked.forget?.()
    }
  }

  /** False where it has ended before. */
  #end(shard: number, asked: Asked): boolean {
    const all = this.#leaseRequests.get(shard)
    if (all?.delete(asked) !== true) return false
    if (all.size === 0) this.#leaseRequests.delete(shard)
    return true
  }

  /**
   * Ends the requests for leases that are put to another node than this one, which owns the shard now: their home may stand still, and has
   * nothing to lease any more. What it leases all the same is returned to it.
   */
  #endLeaseRequests(shard: number, owner: PeerConversation | undefined): void {
    for (const asked of [...(this.#leaseRequests.get(shard) ?? [])]) {
      if (asked.home === owner || !this.#end(shard, asked)) continue
      asked.forget?.()
      asked.resume(Exit.succeed(notOwned(asked.request)))
    }
  }

  #wait(shard: number, request: PeerRequest, resume: Resume): Waiting | undefined {
    if (this.#waitingCount >= this.#waitingMax) return undefined
    const all = this.#waiting.get(shard) ?? new Set()
    this.#waiting.set(shard, all)
    const waiting: Waiting = { request, resume, looks: 0, forget: () => this.#leave(shard, waiting) }
    all.add(waiting)
    this.#waitingCount++
    return waiting
  }

  #leave(shard: number, waiting: Waiting): void {
    const all = this.#waiting.get(shard)
    if (all?.delete(waiting) !== true) return
    this.#waitingCount--
    if (all.size === 0) this.#waiting.delete(shard)
  }

  /** A node said which shards it owns. What another said before about one of them is older. */
  claim(home: PeerConversation, owned: ReadonlyArray<boolean>): void {
    for (const [shard, known] of this.#homes) {
      if (known === home && owned[shard] !== true) this.#homes.delete(shard)
    }
    const name = home.peer?.node
    for (const [shard, isOwned] of owned.entries()) {
      if (!isOwned) continue
      this.#homes.set(shard, home)
      this.#endLeaseRequests(shard, home)
      if (name !== undefined) this.#names.set(shard, name)
    }
    for (const [shard, all] of [...this.#waiting]) {
      if (this.#homes.get(shard) !== home) continue
      for (const waiting of [...all]) {
        this.#leave(shard, waiting)
        waiting.forget = this.#ask(shard, home, waiting.request, waiting.resume)
      }
    }
  }

  /** The shards that a node said are its own, as far as no other has claimed them since. */
  shardsOf(home: PeerConversation): ReadonlyArray<number> {
    return [...this.#homes].flatMap(([shard, known]) => (known === home ? [shard] : [])).sort((a, b) => a - b)
  }

  /** The node that said last of the shard that it is its own, also where the connection to it is over. */
  nodeOf(shard: number): string | undefined {
    return this.#names.get(shard)
  }

  /** The connection to a node is over. */
  forget(home: PeerConversation): void {
    for (const [shard, known] of this.#homes) if (known === home) this.#homes.delete(shard)
    for (const [lease, owner] of this.#leasedFrom) if (owner === home) this.#leasedFrom.delete(lease)
  }

  /** Called from time to time, and when this node was given shards: answers those that have waited for long enough. */
  look(): void {
    for (const shard of [...this.#leaseRequests.keys()])
      if (this.#owned[shard] === true) this.#endLeaseRequests(shard, undefined)
    for (const [shard, all] of [...this.#waiting]) {
      for (const waiting of [...all]) {
        if (++waiting.looks < looksMax && this.#owned[shard] !== true) continue
        this.#leave(shard, waiting)
        waiting.forget = undefined
        waiting.resume(Exit.succeed(notOwned(waiting.request)))
      }
    }
  }
}
