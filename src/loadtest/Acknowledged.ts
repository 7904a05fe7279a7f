/**
 * Receipts enter as they arrive; whether the log holds exactly what was acknowledged, and in an order that agrees
 * with real time, leaves. In memory that grows with the accounts, never with the commands.
 */
import { accountsOf, type Command } from "../domain/Command.ts"
import type { AccountId, CommandId } from "../domain/Ids.ts"
import type { Receipt } from "../domain/Receipt.ts"
import type { StoredEvent } from "../domain/StoredEvent.ts"
import type { Names } from "./Names.ts"

/** Commands without a definite answer that are remembered one by one; more make the check incomplete. */
const openMax = 100_000
const faultsMax = 20

/** A broken promise of the ledger, with its place. */
export interface AckFault {
  readonly invariant: "I4" | "I6" | "I7"
  readonly reason: string
}

/** How far each account of a command was known to be when it was sent. */
export type Sent = ReadonlyArray<number>

/**
 * The sum of the hashes of an account's events, twice 32 bits of each: the same for the same set in any order.
 * An event's hash covers its whole row, so two equal sums (and counts) mean the same rows, by any chance that
 * matters for finding mistakes.
 */
class Sums {
  readonly count: Uint32Array
  readonly low: Uint32Array
  readonly high: Uint32Array

  constructor(accounts: number) {
    this.count = new Uint32Array(accounts)
    this.low = new Uint32Array(accounts)
    this.high = new Uint32Array(accounts)
  }

  add(account: number, hash: string): void {
    let low = 0x811c9dc5
    let high = 0x9e3779b9
    for (let index = 0; index < hash.length; index++) {
      const code = hash.charCodeAt(index)
      low = Math.imul(low ^ code, 0x01000193)
      high = Math.imul(high ^ code, 0x85ebca6b)
    }
    // Every index given to these arrays is below their length; the arrays wrap at 2^32 by themselves.
    this.count[account] = (this.count[account] ?? 0) + 1
    this.low[account] = (this.low[account] ?? 0) + low
    this.high[account] = (this.high[account] ?? 0) + high
  }

  equals(other: Sums, account: number): boolean {
    return (
      this.count[account] === other.count[account] &&
      this.low[account] === other.low[account] &&
      this.high[account] === other.high[account]
    )
  }
}

export class Acknowledged {
  readonly faults: Array<AckFault> = []
  faultsTotal = 0
  readonly #names: Names
  readonly #accounts: number
  readonly #acked: Sums
  readonly #logged: Sums
  /** The highest version acknowledged on each account. */
  readonly #versions: Float64Array
  /** Commands whose answer was `Indeterminate`, until a definite one. */
  readonly #open = new Set<CommandId>()
  readonly #openLogged = new Set<string>()
  readonly #firsts: WeakMap<Command, Receipt> | undefined
  readonly #broken = new Set<AckFault["invariant"]>()

  /** `comparesRepeats`: each command that is sent again, as the same object, must get the same receipt again. */
  constructor(names: Names, accounts: number, comparesRepeats: boolean) {
    this.#names = names
    this.#firsts = comparesRepeats ? new WeakMap() : undefined
    this.#accounts = accounts
    this.#acked = new Sums(accounts)
    this.#logged = new Sums(accounts)
    this.#versions = new Float64Array(accounts)
  }

  /** To be called when a command is sent for the first time. */
  sent(command: Command): Sent {
    if (command._tag === "Transfer") return [this.#versionOf(command.from), this.#versionOf(command.to)]
    return accountsOf(command).map((account) => this.#versionOf(account))
  }

  /** A command was accepted. A replay counts only where the first answer was lost (`Indeterminate`). */
  accepted(command: Command, sent: Sent, receipt: Receipt): void {
    const { commandId } = command
    if (receipt.commandId !== commandId)
      this.#blame("I4", `${commandId} got the receipt of ${receipt.commandId}`)
    if (this.#firsts !== undefined) this.#compare(this.#firsts, command, receipt)
    const wasOpen = this.#open.delete(commandId)
    if (receipt.replayed && !wasOpen) return
    const { postings } = receipt
    for (let ordinal = 0; ordinal < postings.length; ordinal++) {
      const posting = postings[ordinal]
      const index = posting === undefined ? undefined : this.#names.indexOf(posting.account)
      if (posting === undefined || index === undefined || index >= this.#accounts) continue
      this.#acked.add(index, posting.hash)
      if (posting.version <= (sent[ordinal] ?? 0)) {
        const place = `${posting.account}@${posting.version}`
        this.#blame("I7", `${commandId} is at ${place}, before one that was acknowledged before it was sent`)
      }
      if (posting.version > (this.#versions[index] ?? 0)) this.#versions[index] = posting.version
    }
  }

  /** The answer was `Indeterminate`: it may be in the log or not. */
  unknown(command: Command): void {
    if (this.#open.size < openMax) this.#open.add(command.commandId)
    else this.#blame("I4", `more than ${openMax} commands without a definite answer: not all can be checked`)
  }

  /** Commands that never got a definite answer. */
  get openCount(): number {
    return this.#open.size
  }

  /** The highest version acknowledged, 0 for none. */
  versionAt(index: number): number {
    return this.#versions[index] ?? 0
  }

  /** Takes a row of the log; to be called once for every row of the run's accounts, when all is over. */
  logged(row: StoredEvent): void {
    const index = this.#names.indexOf(row.accountId)
    if (index === undefined || index >= this.#accounts) return
    if (!this.#open.has(row.commandId)) return this.#logged.add(index, row.hash)
    const key = `${row.commandId} ${row.ordinal}`
    if (this.#openLogged.has(key)) this.#blame("I4", `${row.commandId} is in the log twice`)
    this.#openLogged.add(key)
  }

  /** Compares what was acknowledged with what was logged. */
  conclude(): void {
    for (let index = 0; index < this.#accounts; index++) {
      if (this.#acked.equals(this.#logged, index)) continue
      const acked = this.#acked.count[index] ?? 0
      const logged = this.#logged.count[index] ?? 0
      const account = this.#names.account(index)
      if (acked > logged) {
        this.#blame("I6", `${account}: ${acked} events were acknowledged, the log holds ${logged} of them`)
      } else if (acked < logged) {
        this.#blame("I4", `${account}: the log holds ${logged - acked} events that nobody was told of`)
      } else {
        this.#blame("I6", `${account}: an acknowledged event is in the log with another hash, or not at all`)
      }
    }
  }

  isKept(invariant: AckFault["invariant"]): boolean {
    return !this.#broken.has(invariant)
  }

  /** Whoever asks, and whenever: one command has one outcome. */
  #compare(firsts: WeakMap<Command, Receipt>, command: Command, again: Receipt): void {
    const first = firsts.get(command)
    if (first === undefined) {
      firsts.set(command, again)
    } else if (first.readToken !== again.readToken || first.postings[0]?.hash !== again.postings[0]?.hash) {
      this.#blame("I4", `${first.commandId} was answered ${first.readToken}, then ${again.readToken}`)
    }
  }

  #versionOf(account: AccountId): number {
    const index = this.#names.indexOf(account)
    return index === undefined ? 0 : (this.#versions[index] ?? 0)
  }

  #blame(invariant: AckFault["invariant"], reason: string): void {
    this.#broken.add(invariant)
    this.faultsTotal++
    if (this.faults.length < faultsMax) this.faults.push({ invariant, reason })
  }
}
