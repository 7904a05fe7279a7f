/**
 * Finds the connections whose peer takes nothing of what is sent to it, so that what waits for such peers is bounded in time. One that
 * takes something, however little and slowly, is none of them.
 */
import type { Socket } from "node:net"
import { type Clock, Effect, Latch } from "effect"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { queuedBytes, unacknowledgedNow } from "./SocketTimeouts.ts"

interface Seen {
  /** Bytes of the chunks that the kernel has taken whole or is taking, and what it has not taken of those. */
  written: number
  queued: number
  /** Taken by the kernel, and not by the peer; undefined where that was not looked at since the peer took something. */
  unacknowledged: number | undefined
  /** Since when it has taken nothing. */
  since: number
}

/**
 * The kernel wakes who writes only once the peer has taken a third of its buffer, which may be a megabyte. So where nothing seems to
 * move it is asked what the peer took; all connections of the machine stand in its answer, so it is asked so many times in the patience.
 */
const looksInPatience = 4

export class StuckPeers {
  readonly #all = new Map<Socket, Seen>()
  readonly #clock: Clock.Clock
  readonly #patienceMs: number
  #lookedAt = Number.NEGATIVE_INFINITY
  readonly #hasSome = Latch.makeUnsafe(false)

  constructor(clock: Clock.Clock, patienceMs: number) {
    this.#clock = clock
    this.#patienceMs = patienceMs
  }

  /** Of a connection with TLS the socket beneath, by which what is encrypted is sent. */
  add(socket: Socket): void {
    this.#all.set(socket, {
      written: 0,
      queued: 0,
      unacknowledged: undefined,
      since: elapsedMsUnsafe(this.#clock)
    })
    this.#hasSome.openUnsafe()
    socket.once("close", () => this.#all.delete(socket))
  }

  /** Completes while there are connections: without any there is nothing to look for. */
  readonly awaitSome: Effect.Effect<void> = Effect.suspend(() => {
    if (this.#all.size === 0) this.#hasSome.closeUnsafe()
    return Effect.asVoid(this.#hasSome.await)
  })

  /** Those whose peer has taken nothing for the patience. To be run now and then. */
  readonly find: Effect.Effect<ReadonlyArray<Socket>> = Effect.suspend(() => {
    const now = elapsedMsUnsafe(this.#clock)
    const quiet = [...this.#all].filter(([socket, seen]) => this.#isQuiet(socket, seen, now))
    const isDue =
      now - this.#lookedAt >= this.#patienceMs / looksInPatience ||
      quiet.some(([, { since }]) => now - since > this.#patienceMs)
    if (quiet.length === 0 || !isDue) return Effect.succeed([])
    this.#lookedAt = now
    return Effect.map(unacknowledgedNow, (unacknowledgedOf) =>
      quiet
        .filter(([socket, seen]) => this.#isStuck(seen, unacknowledgedOf(socket), now))
        .map(([socket]) => socket)
    )
  })

  /** Whether nothing that is seen from here was taken for a part of the patience. */
  #isQuiet(socket: Socket, seen: Seen, now: number): boolean {
    const written = socket.bytesWritten - socket.writableLength
    const queued = queuedBytes(socket)
    const isWaiting = queued > 0 || socket.writableLength > 0
    if (!isWaiting || written !== seen.written || queued !== seen.queued) {
      seen.written = written
      seen.queued = queued
      seen.unacknowledged = undefined
      seen.since = now
    }
    return now - seen.since >= this.#patienceMs / looksInPatience
  }

  #isStuck(seen: Seen, unacknowledged: number | undefined, now: number): boolean {
    const before = seen.unacknowledged
    seen.unacknowledged = unacknowledged
    if (unacknowledged === undefined) return now - seen.since > this.#patienceMs
    // What it was before is not known at the first look.
    if (before === undefined) return false
    if (before !== unacknowledged) seen.since = now
    return now - seen.since > this.#patienceMs
  }
}
