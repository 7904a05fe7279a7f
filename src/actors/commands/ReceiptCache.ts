/** The receipts of the commands accepted last, kept outside of the garbage collector's heap to answer repeats. */
import { Buffer } from "node:buffer"
import { accountsOf, type Command } from "../../domain/Command.ts"
import type { AccountId, CommandId } from "../../domain/Ids.ts"
import { type Posting, printToken, type Receipt } from "../../domain/Receipt.ts"

/** SHA-256 in base64url, the form of all hashes of this program. */
const hashChars = 43
/** Deposits have one posting and transfers two; a journal of more is kept as the object it is. */
const postingsMax = 2
/**
 * Postings of a receipt that is kept as an object, for each outcome less that is kept beside it: what 100,000 journals of a hundred legs
 * left in the heap would fill it.
 */
const postingsOfOutcome = 4
/** A slot holds the hash of the command, then that of each posting. */
const hashesOfSlot = 1 + postingsMax
/** Of each posting: its version, then the account's balance, what is held, and what is available after it. */
const figures = 4
/** A slot holds the instant of the command, then the figures of each posting. */
const numbersOfSlot = 1 + postingsMax * figures

/** A receipt, and what makes a command of its id the one that it is for. */
export interface KeptReceipt {
  readonly commandHash: string
  readonly receipt: Receipt
}

/**
 * As objects the outcomes were half of what a command left in the heap, and the collector copies what is left there
 * twice before it comes to rest. Here one costs a key and a number there, and 204 bytes elsewhere. Its accounts are not
 * kept: a repeat names them.
 */
export class ReceiptCache {
  /** Slots are given out in turn, one half of them a generation. */
  readonly #half: number
  readonly #hashes: Buffer
  readonly #numbers: Float64Array
  #given = 0
  // Two generations instead of a least-recently-used order: forgetting costs nothing a command.
  #young = new Map<CommandId, number | KeptReceipt>()
  #old: ReadonlyMap<CommandId, number | KeptReceipt> = this.#young
  readonly #filter: IdFilter

  /** Keeps the last `max`, which is two at least; of an odd one, one less. Those of many postings count for several. */
  constructor(max: number) {
    this.#half = Math.max(1, Math.floor(max / 2))
    this.#hashes = Buffer.alloc(2 * this.#half * hashesOfSlot * hashChars)
    this.#numbers = new Float64Array(2 * this.#half * numbersOfSlot)
    this.#filter = new IdFilter(this.#half)
  }

  /** `accounts` are those that the command of the hash names, none where they are not known: then they are kept too. */
  keep(commandHash: string, receipt: Receipt, accounts: ReadonlyArray<AccountId>): void {
    const slot = this.#take(Math.ceil(receipt.postings.length / postingsOfOutcome))
    this.#filter.add(receipt.commandId)
    const isWritten = this.#write(slot, commandHash, receipt, accounts)
    this.#young.set(receipt.commandId, isWritten ? slot : { commandHash, receipt })
  }

  /** The next slot, of so many that the outcome counts for; a generation begins where the last one has no room for it. */
  #take(weight: number): number {
    const taken = Math.min(this.#half, Math.max(1, weight))
    const used = this.#given % this.#half
    if (used === 0 || used + taken > this.#half) {
      if (used > 0) this.#given += this.#half - used
      this.#old = this.#young
      this.#young = new Map()
      this.#filter.beginGeneration()
    }
    const slot = this.#given % (2 * this.#half)
    this.#given += taken
    return slot
  }

  has(commandId: CommandId): boolean {
    return this.#find(commandId) !== undefined
  }

  /** What makes a command of this id the one whose outcome is kept; undefined where none is. */
  hashOf(commandId: CommandId): string | undefined {
    const kept = this.#find(commandId)
    return typeof kept === "number" ? this.#hashAt(kept, 0) : kept?.commandHash
  }

  /** The receipt of a command of which `hashOf` answered the hash. */
  receiptOf(command: Command): Receipt | undefined {
    const kept = this.#find(command.commandId)
    if (typeof kept !== "number") return kept && { ...kept.receipt, replayed: true }
    const postings = accountsOf(command)
      .map((account, ordinal) => this.#postingAt(kept, ordinal, account))
      .filter(({ version }) => version > 0)
    return {
      commandId: command.commandId,
      replayed: true,
      recordedAt: this.#numberAt(kept, 0),
      postings,
      readToken: printToken(postings)
    }
  }

  #find(commandId: CommandId): number | KeptReceipt | undefined {
    if (!this.#filter.mayHave(commandId)) return undefined
    return this.#young.get(commandId) ?? this.#old.get(commandId)
  }

  /** False where it does not fit, or a repeat would not name its accounts: a hold may say where its captures go. */
  #write(
    slot: number,
    commandHash: string,
    { recordedAt, postings }: Receipt,
    accounts: ReadonlyArray<AccountId>
  ): boolean {
    if (postings.length > postingsMax || commandHash.length !== hashChars) return false
    if (postings.length !== accounts.length) return false
    if (postings.some(({ account }, nth) => account !== accounts[nth])) return false
    // Written at once: each write leaves JavaScript, which costs more than to join the texts.
    let hashes = commandHash
    this.#numbers[slot * numbersOfSlot] = recordedAt
    for (let ordinal = 0; ordinal < postingsMax; ordinal++) {
      const posting = postings[ordinal]
      const at = slot * numbersOfSlot + 1 + ordinal * figures
      this.#numbers[at] = 0 // no posting: what the slot held before must not be taken for one
      if (posting === undefined) continue
      const { version, hash } = posting
      // Not numbers of legs that an earlier version of the program wrote, which have no such figures.
      const balance = Number(posting.balance)
      const held = Number(posting.held)
      const available = Number(posting.available)
      if (hash.length !== hashChars || !isExact(balance) || !isExact(held) || !isExact(available))
        return false
      hashes += hash
      this.#numbers[at] = version
      this.#numbers[at + 1] = balance
      this.#numbers[at + 2] = held
      this.#numbers[at + 3] = available
    }
    this.#hashes.write(hashes, slot * hashesOfSlot * hashChars, "latin1")
    return true
  }

  #postingAt(slot: number, ordinal: number, account: AccountId): Posting {
    const first = 1 + ordinal * figures
    return {
      account,
      version: this.#numberAt(slot, first),
      hash: this.#hashAt(slot, 1 + ordinal),
      balance: BigInt(this.#numberAt(slot, first + 1)),
      held: BigInt(this.#numberAt(slot, first + 2)),
      available: BigInt(this.#numberAt(slot, first + 3))
    }
  }

  #hashAt(slot: number, nth: number): string {
    const at = slot * hashesOfSlot + nth
    return this.#hashes.toString("latin1", at * hashChars, (at + 1) * hashChars)
  }

  #numberAt(slot: number, nth: number): number {
    return this.#numbers[slot * numbersOfSlot + nth] as number // slots are within
  }
}

/** The number was made of a bigint without loss: of one that is larger it would be larger, too. */
const isExact = (figure: number): boolean => Number.isSafeInteger(figure)

/** Of an id, from its end: ids that one client makes often begin alike. */
const hashedChars = 16
/** So that fewer than one in ten of the ids that are not kept are looked up all the same. */
const bitsPerId = 16

/**
 * Says of most ids that are not kept that they are not, without a look at the two maps. Nearly every command is new, and maps of
 * so many ids are in no cache of the processor: to find an id in neither took 400 ns, and takes 130.
 */
class IdFilter {
  /** A bit for each hash of an id, set where the generation has an id of that hash. */
  #young: Uint32Array
  #old: Uint32Array
  readonly #shift: number

  /** `ids`: as many as a generation has. */
  constructor(ids: number) {
    const bits = Math.max(5, Math.ceil(Math.log2(bitsPerId * ids)))
    this.#young = new Uint32Array(2 ** (bits - 5))
    this.#old = new Uint32Array(2 ** (bits - 5))
    this.#shift = 32 - bits
  }

  /** The old ids are forgotten, and the young ones are the old from now on. */
  beginGeneration(): void {
    const forgotten = this.#old.fill(0)
    this.#old = this.#young
    this.#young = forgotten
  }

  add(id: CommandId): void {
    const bit = this.#bitOf(id)
    this.#young[bit >>> 5] = wordAt(this.#young, bit) | (1 << (bit & 31))
  }

  /** False where neither generation has it. */
  mayHave(id: CommandId): boolean {
    const bit = this.#bitOf(id)
    return ((wordAt(this.#young, bit) | wordAt(this.#old, bit)) & (1 << (bit & 31))) !== 0
  }

  /** Ids that a caller makes to have one hash cost a look at the maps, and no more. */
  #bitOf(id: CommandId): number {
    let hash = 0
    for (let at = Math.max(0, id.length - hashedChars); at < id.length; at++)
      hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193)
    return Math.imul(hash, 0x9e3779b1) >>> this.#shift
  }
}

const wordAt = (words: Uint32Array, bit: number): number => words[bit >>> 5] as number // bits are within
