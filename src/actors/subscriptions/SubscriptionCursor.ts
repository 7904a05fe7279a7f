/**
 * How far a subscription has read the log, as an opaque text that its consumer keeps. Each writer has a tail of its own,
 * so a place in the log is a number a writer. Writers end with the process life they belong to, and are numbered when
 * they are finished: the cursor names one number for all finished writers below it, and single writers only where they
 * may still commit, or are partly read. So its length follows the writers that live, not those that ever lived.
 *
 * A cursor is a claim of its bearer: what it names that the log does not know is forgotten before it is repeated. And it is
 * bounded: where more writers would have to be named than it has room for, it says nothing of those that committed least, which are
 * read again. Where it has to fit into a header of HTTP it is packed if it is too long, for ids of writers are much alike; nowhere else,
 * since each commit is printed for those that follow the log, and packing takes ten times as long as that.
 */
import { deflateRawSync, inflateRawSync } from "node:zlib"
import { Result, Schema } from "effect"
import { InvalidCommand } from "../../domain/Errors.ts"
import type { WriterId } from "../../infra/eventstore/EventStore.ts"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Positions = Schema.Record(Schema.String, Count)
/** Format, all finished writers up to this number, further ones, and the last commit that was read of others. */
const Current = Schema.Tuple([Schema.Literal(2), Count, Schema.Array(Count), Positions])
/** The first format named every writer. */
const Wire = Schema.fromJsonString(Schema.Union([Current, Positions]))
const decode = Schema.decodeUnknownResult(Wire)

/** What a cursor names may be so many bytes, about; some thousands of writers that live at once. */
const namedBytesMax = 200_000
/** Longer texts are refused unread, packed or not: in Base64, with some room, what a cursor may name. */
const textMax = 400_000
/** Before what is packed; no text in Base64 begins so. */
const packedMark = "z."

const plain = (json: string): string => Buffer.from(json).toString("base64url")

const pack = (json: string): string => packedMark + deflateRawSync(json, { level: 1 }).toString("base64url")

const unpack = (text: string): Result.Result<string, unknown> =>
  text.startsWith(packedMark)
    ? Result.try(() =>
        inflateRawSync(Buffer.from(text.slice(packedMark.length), "base64url"), {
          maxOutputLength: textMax
        }).toString("utf8")
      )
    : Result.succeed(Buffer.from(text, "base64url").toString("utf8"))

export class SubscriptionCursor {
  /** Everything of the finished writers up to this number is read … */
  #finishedTo: number
  /** … and everything of these. */
  readonly #finished: Set<number>
  /** The last commit that was read of other writers; 0 where a writer is missing. */
  readonly #positions: Map<WriterId, number>

  constructor(
    finishedTo = 0,
    finished: Iterable<number> = [],
    positions: Iterable<readonly [WriterId, number]> = []
  ) {
    this.#finishedTo = finishedTo
    this.#finished = new Set(finished)
    this.#positions = new Map(positions)
  }

  static parse(text: string): Result.Result<SubscriptionCursor, InvalidCommand> {
    const refused = InvalidCommand.at("after", "is no cursor of a subscription")
    if (text.length > textMax) return Result.fail(refused)
    return unpack(text).pipe(
      Result.flatMap(decode),
      Result.map((wire) =>
        isCurrent(wire)
          ? new SubscriptionCursor(wire[1], wire[2], Object.entries(wire[3]))
          : new SubscriptionCursor(0, [], Object.entries(wire))
      ),
      Result.mapError(() => refused)
    )
  }

  /** The place before the first event of the log. */
  get isStart(): boolean {
    return this.#finishedTo === 0 && this.#finished.size === 0 && this.#positions.size === 0
  }

  get finishedTo(): number {
    return this.#finishedTo
  }

  isFinished(ordinal: number): boolean {
    return ordinal <= this.#finishedTo || this.#finished.has(ordinal)
  }

  positionOf(writer: WriterId): number {
    return this.#positions.get(writer) ?? 0
  }

  /** The writers that it names. */
  get named(): ReadonlyArray<WriterId> {
    return [...this.#positions.keys()]
  }

  /** Forgets the writers that are not among these. */
  keep(known: ReadonlySet<WriterId>): void {
    for (const writer of this.#positions.keys()) if (!known.has(writer)) this.#positions.delete(writer)
  }

  /**
   * Forgets what it claims beyond all that the log has, as where that was restored to an earlier state: those numbers will be those of
   * others. All of a writer above the last number is read anew.
   */
  boundBy(
    finishedTo: number,
    open: ReadonlyArray<{ readonly writerId: WriterId; readonly lastSeq: number }>
  ): void {
    this.#finishedTo = Math.min(this.#finishedTo, finishedTo)
    for (const ordinal of this.#finished) if (ordinal > finishedTo) this.#finished.delete(ordinal)
    for (const { writerId, lastSeq } of open)
      if (this.positionOf(writerId) > lastSeq) this.#positions.set(writerId, lastSeq)
  }

  /** What it takes to print it, in bytes before they are made text. */
  get printedBytes(): number {
    return this.#json(this.#positions, namedBytesMax).length
  }

  advance(writer: WriterId, seq: number): void {
    this.#positions.set(writer, seq)
  }

  /** Everything of a finished writer is read: it drops out of the cursor. */
  finish(writer: WriterId, ordinal: number): void {
    this.#positions.delete(writer)
    if (ordinal > this.#finishedTo) this.#finished.add(ordinal)
    while (this.#finished.delete(this.#finishedTo + 1)) this.#finishedTo++
  }

  /** Everything that the log had is read: of the finished writers up to `finishedTo`, and of those that are open. */
  settle(finishedTo: number, open: ReadonlySet<WriterId>): void {
    this.#finishedTo = Math.max(finishedTo, this.#finishedTo)
    for (const ordinal of this.#finished) if (ordinal <= this.#finishedTo) this.#finished.delete(ordinal)
    for (const writer of this.#positions.keys()) if (!open.has(writer)) this.#positions.delete(writer)
  }

  /** In so many characters at most: packed, and where that is too little it says less, but never more than was read. */
  print(charactersMax = textMax): string {
    const json = this.#json(this.#positions, namedBytesMax)
    const text = plain(json)
    if (text.length <= charactersMax) return text
    let packed = pack(json)
    let room = Math.min(namedBytesMax, bytesOf(this.#positions) + ordinalBytes * this.#finished.size)
    while (packed.length > charactersMax && room > 0) {
      room = Math.floor(room * Math.min(0.9, charactersMax / packed.length))
      packed = pack(this.#json(this.#positions, room))
    }
    return packed
  }

  /** The place just before a commit that was read: a subscription that is resumed there delivers the whole commit again. */
  printBefore({ writerId, seq }: { readonly writerId: WriterId; readonly seq: number }): string {
    return plain(this.#json(new Map(this.#positions).set(writerId, seq - 1), namedBytesMax))
  }

  #json(positions: ReadonlyMap<WriterId, number>, bytesMax: number): string {
    let room = bytesMax
    const named: Array<readonly [WriterId, number]> = []
    for (const [writer, seq] of inOrderOfNeed(positions, bytesMax)) {
      room -= nameBytes(writer)
      if (room < 0) break
      named.push([writer, seq])
    }
    const finished: Array<number> = []
    for (const ordinal of this.#finished) {
      room -= ordinalBytes
      if (room < 0) break
      finished.push(ordinal)
    }
    const wire: typeof Current.Encoded = [2, this.#finishedTo, finished, Object.fromEntries(named)]
    return JSON.stringify(wire)
  }
}

/** What it takes to name them all, about. */
const bytesOf = (positions: ReadonlyMap<WriterId, number>): number => {
  let bytes = 0
  for (const writer of positions.keys()) bytes += nameBytes(writer)
  return bytes
}

const nameBytes = (writer: WriterId): number => writer.length + 20
const ordinalBytes = 10

/** Those first whose commits it would be most work to read again, where not all may be named. */
const inOrderOfNeed = (
  positions: ReadonlyMap<WriterId, number>,
  bytesMax: number
): Iterable<readonly [WriterId, number]> =>
  bytesOf(positions) <= bytesMax ? positions : [...positions].sort(([, a], [, b]) => b - a)

const isCurrent = (wire: typeof Wire.Type): wire is typeof Current.Type => Array.isArray(wire)

/** The same place in so many characters, or an earlier one where that is too little; a text that is no cursor stays as it is. */
export const shortenCursor = (text: string, charactersMax: number): string =>
  Result.match(SubscriptionCursor.parse(text), {
    onSuccess: (cursor) => cursor.print(charactersMax),
    onFailure: () => text
  })
