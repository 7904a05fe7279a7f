/**
 * The order of the commands that one caller gave in one list, on the node that decides them. Mostly each is decided as it
 * comes. Those that have to wait although others behind them need not, because their decision was undone or the log is
 * asked for their ids, stand in line here: a command waits for the first in line that stands before it and may have an
 * account in common with it.
 */
import type { AccountId } from "../../domain/Ids.ts"

/** A command, as far as its place goes. */
export interface Placed {
  /** Greater than that of every command which the node took in before. */
  readonly place: number
  readonly accounts: ReadonlyArray<AccountId>
  readonly mayTouchAny: boolean
  /** Not decided, and not answered. It leaves the line a little later than that changes. */
  readonly isOpen: boolean
  /** Calls back once it is decided or answered, at once where it is. */
  readonly whenDecided: (resume: () => void) => void
}

export class KeptOrder {
  /** Absent where none waits, as almost always. */
  #line: Line | undefined = undefined
  #into: KeptOrder | undefined = undefined

  /** The order that it became a part of, or itself. */
  get #whole(): KeptOrder {
    return this.#into === undefined ? this : this.#into.#whole
  }

  /** The command stands in line until it is decided or answered. */
  add(command: Placed): void {
    const whole = this.#whole
    whole.#line ??= new Line()
    if (!whole.#line.add(command)) return
    // The order may be a part of another one by then.
    command.whenDecided(() => this.#whole.#remove(command))
  }

  has(command: Placed): boolean {
    return this.#whole.#line?.has(command) ?? false
  }

  /** What the command has to wait for: one that is open. */
  before(command: Placed): Placed | undefined {
    return this.#whole.#line?.before(command)
  }

  /** The lists have a command in common: from here on they are one. */
  join(later: KeptOrder): void {
    const whole = this.#whole
    const other = later.#whole
    if (whole === other) return
    other.#into = whole
    for (const command of other.#line?.commands() ?? []) {
      whole.#line ??= new Line()
      whole.#line.add(command)
    }
    other.#line = undefined
  }

  #remove(command: Placed): void {
    this.#line?.remove(command)
    if (this.#line?.isEmpty === true) this.#line = undefined
  }
}

/** Commands in order of their places, in all and by account. */
class Line {
  /** With the accounts by which each is found. */
  readonly #accounts = new Map<Placed, ReadonlyArray<AccountId>>()
  readonly #ofAccount = new Map<AccountId, Set<Placed>>()
  readonly #ofAny = new Set<Placed>()
  #last = Number.NEGATIVE_INFINITY
  /** False once one was added that was decided before others which wait already, as where one lane after another learns that its writer was fenced. */
  #isInOrder = true

  get isEmpty(): boolean {
    return this.#accounts.size === 0
  }

  commands(): Iterable<Placed> {
    return this.#accounts.keys()
  }

  has(command: Placed): boolean {
    return this.#accounts.has(command)
  }

  /** False where it stands in line already. */
  add(command: Placed): boolean {
    if (this.#accounts.has(command)) return false
    if (command.place < this.#last) this.#isInOrder = false
    this.#append(command)
    return true
  }

  before(command: Placed): Placed | undefined {
    this.#lineUp()
    if (command.mayTouchAny) return firstBefore(this.#accounts.keys(), command)
    for (const id of command.accounts) {
      const one = firstBefore(this.#ofAccount.get(id) ?? [], command)
      if (one !== undefined) return one
    }
    return firstBefore(this.#ofAny, command)
  }

  remove(command: Placed): void {
    for (const id of this.#accounts.get(command) ?? []) {
      const line = this.#ofAccount.get(id)
      if (line?.delete(command) === true && line.size === 0) this.#ofAccount.delete(id)
    }
    this.#ofAny.delete(command)
    this.#accounts.delete(command)
  }

  #append(command: Placed): void {
    this.#last = Math.max(this.#last, command.place)
    this.#accounts.set(command, command.accounts)
    if (command.mayTouchAny) this.#ofAny.add(command)
    for (const id of command.accounts) {
      const line = this.#ofAccount.get(id)
      if (line === undefined) this.#ofAccount.set(id, new Set([command]))
      else line.add(command)
    }
  }

  /** Once for all that were added: thousands may come at a time, in an order of their own. */
  #lineUp(): void {
    if (this.#isInOrder) return
    this.#isInOrder = true
    const commands = [...this.#accounts.keys()].toSorted((a, b) => a.place - b.place)
    this.#accounts.clear()
    this.#ofAccount.clear()
    this.#ofAny.clear()
    for (const command of commands) this.#append(command)
  }
}

const firstBefore = (line: Iterable<Placed>, command: Placed): Placed | undefined => {
  for (const one of line) {
    if (one.place >= command.place) return undefined
    if (one.isOpen) return one
  }
  return undefined
}
