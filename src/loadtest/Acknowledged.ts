/**
 * The judge of what a load's callers were told: compares every receipt, its figures included, with the log after the load (I4, I6), and checks
 * that the order of an account's events agrees with real time (I7). Keeps a few numbers an account and nothing a
 * command, so that a load may be of any length.
 *
 * No verdict follows from the order in which answers arrive. A command that is sent again may be answered from memory
 * before its first sending is, and a sending may end as `Indeterminate` after another sending of the same command was
 * accepted. What is known of a command is therefore kept from its first sending on, whichever sending is answered first.
 */
import { accountsOf, type Command } from "../domain/Command.ts"
import type { AccountId, CommandId } from "../domain/Ids.ts"
import type { Position, Receipt } from "../domain/Receipt.ts"
import { boundBy, type StoredEvent } from "../domain/StoredEvent.ts"
import { type Digest, digestOf, MultisetHashes } from "./MultisetHash.ts"
import type { RunIds } from "./RunIds.ts"

/** Commands without a definite answer that are remembered by id. With more of them the check is incomplete, and fails. */
const openMax = 100_000
const faultsMax = 20
/** What a receipt says of an event. */
const told = ["account", "version", "hash", "balance", "held", "available"] as const

/** A broken invariant, and where. */
export interface AckFault {
  readonly invariant: "I4" | "I6" | "I7"
  readonly reason: string
}

/** The highest acknowledged version of each account of a command when the command was first sent. */
export type Sent = ReadonlyArray<Position>

/** What is known of a command that may be sent again. */
interface Known {
  /** As of the first sending: the command may have taken effect at any moment since. */
  readonly sent: Sent
  /** Of whichever sending was answered first. */
  receipt: Receipt | undefined
}

/** Is told of everything that `conclude` will compare, so that another process can come to the same verdict. */
export interface AckSink {
  readonly counted: (commandId: CommandId, account: number, version: number, digest: Digest) => void
  readonly unknown: (commandId: CommandId) => void
}

export class Acknowledged {
  readonly faults: Array<AckFault> = []
  faultsTotal = 0
  readonly #ids: RunIds
  readonly #accounts: number
  readonly #acked: MultisetHashes
  readonly #logged: MultisetHashes
  /** The highest version acknowledged on each account. */
  readonly #versions: Float64Array
  /** Commands that were answered `Indeterminate` and have no definite answer yet. */
  readonly #open = new Set<CommandId>()
  readonly #openLogged = new Set<string>()
  #isOrphan: (commandId: CommandId) => boolean = () => false
  /** Events in the log whose callers died before they could report an answer. */
  orphanRows = 0
  readonly #sink: AckSink | undefined
  readonly #known: WeakMap<Command, Known> | undefined
  /** Commands that carry the id of an accepted command and another body. */
  readonly #changed = new WeakSet<Command>()
  readonly #broken = new Set<AckFault["invariant"]>()

  /**
   * `comparesRepeats`: each command that is sent again, as the same object, must get the same receipt again. Without it
   * a command may be sent again only after an answer that was not a receipt.
   */
  constructor(ids: RunIds, accounts: number, comparesRepeats: boolean, sink?: AckSink) {
    this.#ids = ids
    this.#sink = sink
    this.#known = comparesRepeats ? new WeakMap() : undefined
    this.#accounts = accounts
    this.#acked = new MultisetHashes(accounts)
    this.#logged = new MultisetHashes(accounts)
    this.#versions = new Float64Array(accounts)
  }

  /** Called before a command is sent. The answer for a command that was sent before is that of its first sending. */
  sent(command: Command): Sent {
    const known = this.#known?.get(command)
    if (known !== undefined) return known.sent
    const sent =
      command._tag === "Transfer"
        ? [this.#positionOf(command.from), this.#positionOf(command.to)]
        : accountsOf(command).map((account) => this.#positionOf(account))
    this.#known?.set(command, { sent, receipt: undefined })
    return sent
  }

  /**
   * A copy of the command with another amount, which the ledger must refuse: undefined as long as the command itself was
   * not accepted, or where it has no amount.
   */
  changed(command: Command): Command | undefined {
    if (!("amount" in command) || this.#known?.get(command)?.receipt === undefined) return undefined
    const changed = { ...command, amount: command.amount + 1n }
    this.#changed.add(changed)
    return changed
  }

  /** Whether it was made by `changed`. */
  isChanged(command: Command): boolean {
    return this.#changed.has(command)
  }

  /**
   * A command was accepted. The first answer counts, replayed or not: the answer of the sending that took effect may
   * have been lost between two nodes, or overtaken by a repeat that was answered from memory.
   */
  accepted(command: Command, sent: Sent, receipt: Receipt): void {
    const { commandId } = command
    if (receipt.commandId !== commandId)
      this.blame("I4", `${commandId} got the receipt of ${receipt.commandId}`)
    if (this.isChanged(command)) {
      this.blame("I4", `${commandId} was accepted with one body, then with another`)
      return
    }
    const known = this.#known?.get(command)
    if (known?.receipt !== undefined) return this.#compare(known.receipt, receipt)
    if (known !== undefined) known.receipt = receipt
    this.#open.delete(commandId)
    for (const posting of receipt.postings) {
      const { account, version, hash } = posting
      const index = this.#ids.indexOf(account)
      if (index === undefined || index >= this.#accounts) continue
      const digest = digestOf(hash, posting)
      this.counted(commandId, index, version, digest)
      this.#sink?.counted(commandId, index, version, digest)
      const before = sent.find((position) => position.account === account)?.version ?? 0
      if (version <= before) {
        this.blame(
          "I7",
          `${commandId} is at ${account}@${version}, though version ${before} was acknowledged before the command was first sent`
        )
      }
    }
  }

  /** Takes an acknowledged event, as a sink is told of it. */
  counted(commandId: CommandId, account: number, version: number, digest: Digest): void {
    this.#open.delete(commandId)
    this.#acked.add(account, digest)
    this.learn(account, version)
  }

  /** Notes that some caller was told of this version: commands that are sent from now on must take effect after it. */
  learn(account: number, version: number): void {
    if (version > (this.#versions[account] ?? 0)) this.#versions[account] = version
  }

  /** Treats these commands, whose callers died, as if each had been answered `Indeterminate`. */
  orphan(isOrphan: (commandId: CommandId) => boolean): void {
    this.#isOrphan = isOrphan
  }

  /** A sending ended as `Indeterminate`: its events may be in the log or not, unless another sending was accepted. */
  unknown(command: Command): void {
    if (this.isChanged(command) || this.#known?.get(command)?.receipt !== undefined) return
    this.#sink?.unknown(command.commandId)
    this.leftOpen(command.commandId)
  }

  /** Takes a command without a definite answer, as a sink is told of it. */
  leftOpen(commandId: CommandId): void {
    if (this.#open.size < openMax) this.#open.add(commandId)
    else this.blame("I4", `more than ${openMax} commands without a definite answer: not all can be checked`)
  }

  /** Commands without a definite answer up to now. */
  get openCount(): number {
    return this.#open.size
  }

  /** The highest version acknowledged, 0 for none. */
  versionAt(index: number): number {
    return this.#versions[index] ?? 0
  }

  /** Takes an event of the log. Called once for each event of the run's accounts, after the load. */
  logged(row: StoredEvent): void {
    const index = this.#ids.indexOf(row.accountId)
    if (index === undefined || index >= this.#accounts) return
    const isOrphan = this.#isOrphan(row.commandId)
    if (!isOrphan && !this.#open.has(row.commandId))
      return this.#logged.add(index, digestOf(row.hash, boundBy(row) ?? {}))
    if (isOrphan) this.orphanRows++
    const key = `${row.commandId} ${row.ordinal}`
    if (this.#openLogged.has(key)) this.blame("I4", `${row.commandId} is in the log twice`)
    this.#openLogged.add(key)
  }

  /** Compares the acknowledged events with the logged ones, account by account. */
  conclude(): void {
    for (let index = 0; index < this.#accounts; index++) {
      if (this.#acked.equals(this.#logged, index)) continue
      const acked = this.#acked.count[index] ?? 0
      const logged = this.#logged.count[index] ?? 0
      const account = this.#ids.account(index)
      if (acked > logged) {
        this.blame("I6", `${account}: ${acked} events were acknowledged, but the log holds only ${logged}`)
      } else if (acked < logged) {
        this.blame(
          "I4",
          `${account}: the log holds ${logged - acked} events of commands that were not acknowledged`
        )
      } else {
        this.blame(
          "I6",
          `${account}: an acknowledged event is in the log with another hash or other figures, or not at all`
        )
      }
    }
  }

  isKept(invariant: AckFault["invariant"]): boolean {
    return !this.#broken.has(invariant)
  }

  /** Two receipts of one command must name the same events, and the same figures. Which of the two sendings came first does not matter. */
  #compare(one: Receipt, other: Receipt): void {
    const isSame =
      one.postings.length === other.postings.length &&
      one.postings.every((posting, nth) => {
        const same = other.postings[nth]
        return same !== undefined && told.every((field) => same[field] === posting[field])
      })
    if (!isSame)
      this.blame("I4", `${one.commandId} got two receipts: ${one.readToken} and ${other.readToken}`)
  }

  #positionOf(account: AccountId): Position {
    const index = this.#ids.indexOf(account)
    return { account, version: index === undefined ? 0 : (this.#versions[index] ?? 0) }
  }

  /** Notes a fault, also one that was found elsewhere. The first fault of each invariant is always kept. */
  blame(invariant: AckFault["invariant"], reason: string): void {
    this.faultsTotal++
    if (this.faults.length < faultsMax || this.isKept(invariant)) this.faults.push({ invariant, reason })
    this.#broken.add(invariant)
  }
}
