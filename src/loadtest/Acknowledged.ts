/**
 * Receipts enter as they arrive; whether the log holds exactly what was acknowledged, and in an order that agrees
 * with real time, leaves. In memory that grows with the accounts, never with the commands.
 */
import { accountsOf, type Command } from "../domain/Command.ts"
import type { AccountId, CommandId } from "../domain/Ids.ts"
import type { Receipt } from "../domain/Receipt.ts"
import type { StoredEvent } from "../domain/StoredEvent.ts"
import type { Names } from "./Names.ts"
import { type Digest, digestOf, Sums } from "./Sums.ts"

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

/** Is told of all that `conclude` will compare, so that another process can come to the same verdict. */
export interface AckSink {
  readonly counted: (commandId: CommandId, account: number, version: number, digest: Digest) => void
  readonly unknown: (commandId: CommandId) => void
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
  #isOrphan: (commandId: CommandId) => boolean = () => false
  /** Rows in the log of commands whose sender is gone, and that it told of no answer. */
  orphanRows = 0
  readonly #sink: AckSink | undefined
  readonly #firsts: WeakMap<Command, Receipt> | undefined
  readonly #broken = new Set<AckFault["invariant"]>()

  /**
   * `comparesRepeats`: each command that is sent again, as the same object, must get the same receipt again. Without it
   * no command may be sent again once it was accepted.
   */
  constructor(names: Names, accounts: number, comparesRepeats: boolean, sink?: AckSink) {
    this.#names = names
    this.#sink = sink
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

  /**
   * A command was accepted. The first answer counts, a replay or not: a node that sends a command on sends it again
   * where the answer was lost, so that even the first one the caller sees may be a replay.
   */
  accepted(command: Command, sent: Sent, receipt: Receipt): void {
    const { commandId } = command
    if (receipt.commandId !== commandId)
      this.blame("I4", `${commandId} got the receipt of ${receipt.commandId}`)
    if (this.#firsts !== undefined && !this.#isFirst(this.#firsts, command, receipt)) return
    this.#open.delete(commandId)
    const { postings } = receipt
    for (let ordinal = 0; ordinal < postings.length; ordinal++) {
      const posting = postings[ordinal]
      const index = posting === undefined ? undefined : this.#names.indexOf(posting.account)
      if (posting === undefined || index === undefined || index >= this.#accounts) continue
      const digest = digestOf(posting.hash)
      this.counted(commandId, index, posting.version, digest)
      this.#sink?.counted(commandId, index, posting.version, digest)
      if (posting.version <= (sent[ordinal] ?? 0)) {
        const place = `${posting.account}@${posting.version}`
        this.blame("I7", `${commandId} is at ${place}, before one that was acknowledged before it was sent`)
      }
    }
  }

  /** An acknowledged event, as a sink is told of it. */
  counted(commandId: CommandId, account: number, version: number, digest: Digest): void {
    this.#open.delete(commandId)
    this.#acked.add(account, digest)
    this.learn(account, version)
  }

  /** Somebody was told of this version: what is sent from now on must come after it. */
  learn(account: number, version: number): void {
    if (version > (this.#versions[account] ?? 0)) this.#versions[account] = version
  }

  /** The senders of these commands are gone: those may be in the log or not, as if each answer had been `Indeterminate`. */
  orphan(isOrphan: (commandId: CommandId) => boolean): void {
    this.#isOrphan = isOrphan
  }

  /** The answer was `Indeterminate`: it may be in the log or not. */
  unknown(command: Pick<Command, "commandId">): void {
    this.#sink?.unknown(command.commandId)
    if (this.#open.size < openMax) this.#open.add(command.commandId)
    else this.blame("I4", `more than ${openMax} commands without a definite answer: not all can be checked`)
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
    const isOrphan = this.#isOrphan(row.commandId)
    if (!isOrphan && !this.#open.has(row.commandId)) return this.#logged.add(index, digestOf(row.hash))
    if (isOrphan) this.orphanRows++
    const key = `${row.commandId} ${row.ordinal}`
    if (this.#openLogged.has(key)) this.blame("I4", `${row.commandId} is in the log twice`)
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
        this.blame("I6", `${account}: ${acked} events were acknowledged, the log holds ${logged} of them`)
      } else if (acked < logged) {
        this.blame("I4", `${account}: the log holds ${logged - acked} events that nobody was told of`)
      } else {
        this.blame("I6", `${account}: an acknowledged event is in the log with another hash, or not at all`)
      }
    }
  }

  isKept(invariant: AckFault["invariant"]): boolean {
    return !this.#broken.has(invariant)
  }

  /** Whoever asks, and whenever: one command has one outcome. */
  #isFirst(firsts: WeakMap<Command, Receipt>, command: Command, again: Receipt): boolean {
    const first = firsts.get(command)
    if (first === undefined) {
      firsts.set(command, again)
      return true
    }
    if (first.readToken !== again.readToken || first.postings[0]?.hash !== again.postings[0]?.hash) {
      this.blame("I4", `${first.commandId} was answered ${first.readToken}, then ${again.readToken}`)
    }
    return false
  }

  #versionOf(account: AccountId): number {
    const index = this.#names.indexOf(account)
    return index === undefined ? 0 : (this.#versions[index] ?? 0)
  }

  /** Also for what others found. The first fault of each invariant is always kept. */
  blame(invariant: AckFault["invariant"], reason: string): void {
    this.faultsTotal++
    if (this.faults.length < faultsMax || this.isKept(invariant)) this.faults.push({ invariant, reason })
    this.#broken.add(invariant)
  }
}
