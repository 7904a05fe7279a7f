/**
 * Carries what the callers of a node were told to the load test's own process, as compact records, so that the log can
 * still be compared with it when the node has died.
 */
import type { CommandId } from "../../domain/Ids.ts"
import type { Acknowledged, AckSink } from "../Acknowledged.ts"
import type { Digest } from "../MultisetHash.ts"
import type { RunIds } from "../RunIds.ts"

/** A record is 5 numbers: command, account (-1 where the answer is unknown), version, and the two halves of the digest. */
const width = 5
/** Versions that are shared with the other nodes at once. More would sharpen the check of I7 and no other. */
const knownMax = 2_000
/** Commands whose answer is remembered, by number. The answer to a later command counts as not received. */
const answeredMax = 2 ** 31

/** The end of the node, which writes. */
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

  /** The records since the last call; undefined where there are none. */
  take(): Float64Array | undefined {
    if (this.#records.length === 0) return undefined
    const records = Float64Array.from(this.#records)
    this.#records = []
    return records
  }
}

/** The end of the load test, which gives the records of all nodes to one judge. */
export class ReceivedAcks {
  readonly #ids: RunIds
  readonly #acknowledged: Acknowledged
  #answered = new Uint8Array(2 ** 16)
  #newVersions = new Map<number, number>()

  constructor(ids: RunIds, acknowledged: Acknowledged) {
    this.#ids = ids
    this.#acknowledged = acknowledged
  }

  take(records: Float64Array): void {
    for (let at = 0; at + width <= records.length; at += width) {
      const [command = 0, account = 0, version = 0, low = 0, high = 0] = records.subarray(at, at + width)
      const commandId = this.#ids.command(command)
      if (account < 0) {
        if (!this.#isAnswered(command)) this.#acknowledged.leftOpen(commandId)
        continue
      }
      this.#noteAnswer(command)
      this.#acknowledged.counted(commandId, account, version, [low, high])
      if (this.#newVersions.size < knownMax || this.#newVersions.has(account)) {
        this.#newVersions.set(account, Math.max(version, this.#newVersions.get(account) ?? 0))
      }
    }
  }

  /** The versions that were acknowledged on any node since the last call; undefined where there are none. */
  takeVersions(): Float64Array | undefined {
    if (this.#newVersions.size === 0) return undefined
    const versions = Float64Array.from([...this.#newVersions].flat())
    this.#newVersions = new Map()
    return versions
  }

  /** Some nodes died: of their commands, those whose answer was not received count as `Indeterminate`. */
  lost(isOfDeadNode: (commandNumber: number) => boolean): void {
    this.#acknowledged.orphan((commandId) => {
      const command = this.#ids.numberOf(commandId)
      return isOfDeadNode(command) && !this.#isAnswered(command)
    })
  }

  #noteAnswer(command: number): void {
    if (command >= answeredMax) return
    const byte = command >>> 3
    if (byte >= this.#answered.length) {
      const larger = new Uint8Array(2 ** Math.ceil(Math.log2(byte + 1)))
      larger.set(this.#answered)
      this.#answered = larger
    }
    this.#answered[byte] = (this.#answered[byte] ?? 0) | (1 << (command & 7))
  }

  #isAnswered(command: number): boolean {
    return command < answeredMax && ((this.#answered[command >>> 3] ?? 0) & (1 << (command & 7))) !== 0
  }
}
