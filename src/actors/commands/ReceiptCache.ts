/** The receipts of the commands accepted last, kept outside of the garbage collector's heap to answer repeats. */
import { Buffer } from "node:buffer"
import { accountsOf, type Command } from "../../domain/Command.ts"
import type { CommandId } from "../../domain/Ids.ts"
import { printToken, type Receipt } from "../../domain/Receipt.ts"

/** SHA-256 in base64url, the form of all hashes of this program. */
const hashChars = 43
/** Deposits have one posting and transfers two; a journal of more is kept as the object it is. */
const postingsMax = 2
/** A slot holds the hash of the command and its instant, then the hash and the version of each posting. */
const slotSize = 1 + postingsMax

interface Kept {
  readonly commandHash: string
  readonly receipt: Receipt
}

/**
 * As objects the outcomes were half of what a command left in the heap, and the collector copies what is left there
 * twice before it comes to rest. Here one costs a key and a number there, and 153 bytes elsewhere. Its accounts are not
 * kept: a repeat names them.
 */
export class ReceiptCache {
  /** Slots are given out in turn, one half of them a generation. */
  readonly #half: number
  readonly #hashes: Buffer
  readonly #numbers: Float64Array
  #given = 0
  // Two generations instead of a least-recently-used order: forgetting costs nothing a command.
  #young = new Map<CommandId, number | Kept>()
  #old: ReadonlyMap<CommandId, number | Kept> = this.#young

  /** Keeps the last `max`, which is two at least; of an odd one, one less. */
  constructor(max: number) {
    this.#half = Math.max(1, Math.floor(max / 2))
    this.#hashes = Buffer.alloc(2 * this.#half * slotSize * hashChars)
    this.#numbers = new Float64Array(2 * this.#half * slotSize)
  }

  keep(commandHash: string, receipt: Receipt): void {
    const slot = this.#given++ % (2 * this.#half)
    if (slot % this.#half === 0) {
      this.#old = this.#young
      this.#young = new Map()
    }
    const isWritten = this.#write(slot * slotSize, commandHash, receipt)
    this.#young.set(receipt.commandId, isWritten ? slot : { commandHash, receipt })
  }

  has(commandId: CommandId): boolean {
    return this.#find(commandId) !== undefined
  }

  /** What makes a command of this id the one whose outcome is kept; undefined where none is. */
  hashOf(commandId: CommandId): string | undefined {
    const kept = this.#find(commandId)
    return typeof kept === "number" ? this.#hashAt(kept * slotSize) : kept?.commandHash
  }

  /** The receipt of a command of which `hashOf` answered the hash. */
  receiptOf(command: Command): Receipt | undefined {
    const kept = this.#find(command.commandId)
    if (typeof kept !== "number") return kept && { ...kept.receipt, replayed: true }
    const at = kept * slotSize
    const postings = accountsOf(command)
      .map((account, ordinal) => ({
        account,
        version: this.#numberAt(at + 1 + ordinal),
        hash: this.#hashAt(at + 1 + ordinal)
      }))
      .filter(({ version }) => version > 0)
    return {
      commandId: command.commandId,
      replayed: true,
      recordedAt: this.#numberAt(at),
      postings,
      readToken: printToken(postings)
    }
  }

  #find(commandId: CommandId): number | Kept | undefined {
    return this.#young.get(commandId) ?? this.#old.get(commandId)
  }

  /** False where it does not fit. */
  #write(at: number, commandHash: string, { recordedAt, postings }: Receipt): boolean {
    if (postings.length > postingsMax || commandHash.length !== hashChars) return false
    this.#put(at, commandHash, recordedAt)
    for (let ordinal = 0; ordinal < postingsMax; ordinal++) {
      const posting = postings[ordinal]
      this.#numbers[at + 1 + ordinal] = 0 // no posting: what the slot held before must not be taken for one
      if (posting === undefined) continue
      if (posting.hash.length !== hashChars) return false
      this.#put(at + 1 + ordinal, posting.hash, posting.version)
    }
    return true
  }

  #put(at: number, hash: string, number: number): void {
    this.#hashes.write(hash, at * hashChars, hashChars, "latin1")
    this.#numbers[at] = number
  }

  #hashAt(at: number): string {
    return this.#hashes.toString("latin1", at * hashChars, (at + 1) * hashChars)
  }

  #numberAt(at: number): number {
    return this.#numbers[at] as number // slots are within
  }
}
