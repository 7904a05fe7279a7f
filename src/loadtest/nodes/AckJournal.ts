/**
 * What callers of a node were told enters, as it is told; records that travel to the load test's own process leave,
 * so that it can hold the log against them when the node is gone.
 */
import type { CommandId } from "../../domain/Ids.ts"
import type { Acknowledged, AckSink } from "../Acknowledged.ts"
import type { Digest } from "../MultisetHash.ts"
import type { RunIds } from "../RunIds.ts"

/** Numbers a record: command, account (-1 where the answer is unknown), version, digest. */
const width = 5
/** Versions that are passed on to the other nodes at once; more would only sharpen the check of I7. */
const knownMax = 2_000
/** Commands whose answer is noted, by number; a later one counts as if nobody had heard of its answer. */
const settledMax = 2 ** 31

/** The node's end. */
export class AckJournal implements AckSink {
  readonly #ids: RunIds
  #records: Array<number> = []

  constructor(ids: RunIds) {
    this.#ids = ids
  }

  counted(commandId: CommandId, account: number, version: number, [low, high]: Digest): void {
    this.#records.push(this.#ids.numberOf(commandId), account, version, low, high)
  }

  unknown(commandId: CommandId): void {
    this.#records.push(this.#ids.numberOf(commandId), -1, 0, 0, 0)
  }

  /** What came since the last time. */
  take(): Float64Array | undefined {
    if (this.#records.length === 0) return undefined
    const records = Float64Array.from(this.#records)
    this.#records = []
    return records
  }
}

/** The other end: one judge for what all nodes told. */
export class ReceivedAcks {
  readonly #ids: RunIds
  readonly #acknowledged: Acknowledged
  #settled = new Uint8Array(2 ** 16)
  #known = new Map<number, number>()

  constructor(ids: RunIds, acknowledged: Acknowledged) {
    this.#ids = ids
    this.#acknowledged = acknowledged
  }

  take(records: Float64Array): void {
    for (let at = 0; at + width <= records.length; at += width) {
      const [command = 0, account = 0, version = 0, low = 0, high = 0] = records.subarray(at, at + width)
      const commandId = this.#ids.command(command)
      if (account < 0) {
        if (!this.#isSettled(command)) this.#acknowledged.leftOpen(commandId)
        continue
      }
      this.#settle(command)
      this.#acknowledged.counted(commandId, account, version, [low, high])
      if (this.#known.size < knownMax || this.#known.has(account)) {
        this.#known.set(account, Math.max(version, this.#known.get(account) ?? 0))
      }
    }
  }

  /** Versions that somebody was told of since the last time, for all nodes. */
  takeKnown(): Float64Array | undefined {
    if (this.#known.size === 0) return undefined
    const versions = Float64Array.from([...this.#known].flat())
    this.#known = new Map()
    return versions
  }

  /** Nobody knows what was answered to the other commands of these sources: they died with it. */
  lost(isGone: (commandNumber: number) => boolean): void {
    this.#acknowledged.orphan((commandId) => {
      const command = this.#ids.numberOf(commandId)
      return isGone(command) && !this.#isSettled(command)
    })
  }

  #settle(command: number): void {
    if (command >= settledMax) return
    const byte = command >>> 3
    if (byte >= this.#settled.length) {
      const larger = new Uint8Array(2 ** Math.ceil(Math.log2(byte + 1)))
      larger.set(this.#settled)
      this.#settled = larger
    }
    this.#settled[byte] = (this.#settled[byte] ?? 0) | (1 << (command & 7))
  }

  #isSettled(command: number): boolean {
    return command < settledMax && ((this.#settled[command >>> 3] ?? 0) & (1 << (command & 7))) !== 0
  }
}
