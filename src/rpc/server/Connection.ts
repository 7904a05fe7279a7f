/** One peer's connection: its parser, the bytes that wait to be written, and the counts by which it is bounded. */
import type { Socket as NetSocket } from "node:net"
import { Effect, Latch, Result } from "effect"
import type { RpcMessage, RpcSerialization } from "effect/rpc"
import { Socket } from "effect/socket"
import type { ConnectionIdentity } from "../../access/Authenticator.ts"
import { type Message, readMessage } from "./Envelope.ts"

/** The writing half of a socket. */
type Writer = Effect.Success<Socket.Socket["writer"]>

/** Bytes that may wait for a peer; above this the handlers that answer the peer wait too. */
const waitingMax = 262_144
const newline = 10
/** How long a closing connection tries to send its last answers, in milliseconds. */
const lastAnswersMs = 100

/**
 * Waits for the end of the current microtask, so that all answers of one commit go in one write. A turn of the event loop later would
 * be too late: the projections of that commit would run first.
 */
const afterThisMicrotask = Effect.callback<void>((resume) => queueMicrotask(() => resume(Effect.void)))

/** Bytes that may wait for each peer besides: twice what a stream has waiting, whose events come in chunks. */
const besidesMax = 4 * waitingMax

/** What waits for all peers of a listener together beyond what may wait for each of them, in bytes. */
export interface WaitingAnswers {
  bytes: number
}

/**
 * What the connections of a listener hold of messages that are not complete, in bytes, about: those of which a call was admitted, and
 * all others, which may be anybody's.
 */
export interface UnfinishedMessages {
  admitted: number
  others: number
}

/** The messages in some bytes of a peer, or why they are none. */
type Received =
  | { readonly _tag: "Messages"; readonly messages: ReadonlyArray<Message> }
  | { readonly _tag: "Broken"; readonly reason: string }

export class Connection {
  readonly id: number
  readonly peer: string
  readonly authorization: string | undefined
  readonly identity: ConnectionIdentity = { token: undefined, caller: undefined }
  /** Calls that are not answered, each with whether it is a stream. */
  readonly calls = new Map<string | number, boolean>()
  refusals = 0
  streams = 0
  /** When bytes of the peer came last, in milliseconds of time elapsed. */
  heardAt: number
  /** When a message began to come that is not complete; undefined where there is none. */
  messageSince: number | undefined
  readonly #writer: Writer
  readonly #socket: NetSocket | undefined
  readonly #parser: RpcSerialization.Parser
  readonly #wake = Latch.makeUnsafe(false)
  readonly #room = Latch.makeUnsafe(true)
  readonly #isText: boolean
  readonly #answers: WaitingAnswers
  readonly #unfinished: UnfinishedMessages
  #isAdmitted = false
  /** Bytes of a message that is not complete: those that the parser has, and those that a WebSocket keeps until it has the whole. */
  #parserBytes = 0
  #beneathBytes = 0
  #unfinishedBytes = 0
  /** What the socket beneath had read when it was looked at, and when it last handed something on. */
  #readAtLook: number
  #readAtChunk: number
  #waiting: Array<Uint8Array | string> = []
  #waitingBytes = 0
  /** Bytes that are being written: the peer has not taken all of them. */
  #leavingBytes = 0
  #beyondBytes = 0
  #isClosed = false

  constructor(options: {
    readonly id: number
    readonly peer: string
    readonly authorization: string | undefined
    readonly now: number
    readonly socket: NetSocket | undefined
    readonly writer: Writer
    readonly parser: RpcSerialization.Parser
    /** A message is a line. */
    readonly isText: boolean
    readonly answers: WaitingAnswers
    readonly unfinished: UnfinishedMessages
  }) {
    this.id = options.id
    this.peer = options.peer
    this.authorization = options.authorization
    this.heardAt = options.now
    this.#writer = options.writer
    this.#socket = options.socket
    this.#parser = options.parser
    this.#isText = options.isText
    this.#answers = options.answers
    this.#unfinished = options.unfinished
    this.#readAtLook = this.#bytesRead
    this.#readAtChunk = this.#bytesRead
  }

  /** Nothing is written to the peer any more. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Of the bytes that wait and those that leave what is counted for all peers together. */
  get beyondBytes(): number {
    return this.#beyondBytes
  }

  /** A call of the peer was admitted. */
  get isAdmitted(): boolean {
    return this.#isAdmitted
  }

  /** What is counted of messages that are not complete. */
  get unfinishedBytes(): number {
    return this.#unfinishedBytes
  }

  get #bytesRead(): number {
    return this.#socket?.bytesRead ?? 0
  }

  /** Is to be called after each change of what is not complete. Of a closed connection it is soon dropped, and counts no more. */
  #countUnfinished(isAdmitted = this.#isAdmitted): void {
    const bytes = this.#isClosed ? 0 : this.#parserBytes + this.#beneathBytes
    this.#unfinished[this.#isAdmitted ? "admitted" : "others"] -= this.#unfinishedBytes
    this.#unfinished[isAdmitted ? "admitted" : "others"] += bytes
    this.#isAdmitted = isAdmitted
    this.#unfinishedBytes = bytes
  }

  /** A call of the peer is admitted. */
  admitUnsafe(): void {
    if (!this.#isAdmitted) this.#countUnfinished(true)
  }

  /** Is to be called now and then: of a message that comes slowly a WebSocket hands nothing on before all of it is there. */
  lookUnsafe(now: number): void {
    const bytesRead = this.#bytesRead
    if (bytesRead === this.#readAtLook) return
    this.#readAtLook = bytesRead
    this.heardAt = now
    this.messageSince ??= now
    this.#beneathBytes = bytesRead - this.#readAtChunk
    this.#countUnfinished()
  }

  /** Is to be called after each change of what waits. What still leaves a closed connection is soon dropped, and counts no more. */
  #count(): void {
    const beyond = this.#isClosed ? 0 : Math.max(0, this.#waitingBytes + this.#leavingBytes - besidesMax)
    this.#answers.bytes += beyond - this.#beyondBytes
    this.#beyondBytes = beyond
  }

  /** Parses bytes of the peer. A parser that has failed once cannot be trusted with the rest. */
  receiveUnsafe(data: Uint8Array | string, now: number): Received {
    this.heardAt = now
    this.#readAtChunk = this.#bytesRead
    this.#readAtLook = this.#readAtChunk
    this.#beneathBytes = 0
    const decoded = Result.try(() => this.#parser.decode(data))
    if (Result.isFailure(decoded)) return { _tag: "Broken", reason: describe(decoded.failure) }
    const isWhole = decoded.success.length > 0
    this.#parserBytes = isWhole ? this.#restOf(data) : this.#parserBytes + data.length
    this.#countUnfinished()
    this.messageSince = isWhole ? undefined : (this.messageSince ?? now)
    if (!isWhole) return { _tag: "Messages", messages: [] }
    const messages: Array<Message> = []
    for (const value of decoded.success) {
      const message = readMessage(value)
      if (message === undefined) return { _tag: "Broken", reason: "a message that is none of the protocol" }
      messages.push(message)
    }
    return { _tag: "Messages", messages }
  }

  /** Bytes behind the last whole message of a chunk; of binary frames, which come in small chunks, at most so many. */
  #restOf(data: Uint8Array | string): number {
    if (!this.#isText) return data.length
    return data.length - 1 - (typeof data === "string" ? data.lastIndexOf("\n") : data.lastIndexOf(newline))
  }

  /** Queues the message for `pump`; waits while more than `waitingMax` bytes wait for the peer. */
  write(response: RpcMessage.FromServerEncoded): Effect.Effect<void> {
    return Effect.suspend(() => {
      const encoded = this.#isClosed ? undefined : this.#parser.encode(response)
      if (encoded === undefined) return Effect.void
      this.#waiting.push(encoded)
      this.#waitingBytes += encoded.length
      this.#count()
      this.#wake.openUnsafe()
      if (this.#waitingBytes <= waitingMax) return Effect.void
      this.#room.closeUnsafe()
      return this.#room.await
    })
  }

  /** Writes all waiting bytes at once, for as long as the connection lives, so that no handler waits on a socket. */
  get pump(): Effect.Effect<never, Socket.SocketError> {
    return Effect.suspend(() => {
      this.#wake.closeUnsafe()
      return this.#flush
    }).pipe(
      Effect.andThen(
        Effect.sync(() => {
          if (this.#waiting.length === 0) this.#room.openUnsafe()
        })
      ),
      Effect.andThen(this.#wake.await),
      Effect.andThen(afterThisMicrotask),
      Effect.forever({ disableYield: true }),
      Effect.tapError(() => Effect.sync(() => this.#release()))
    )
  }

  get #flush(): Effect.Effect<void, Socket.SocketError> {
    return Effect.suspend(() => {
      const [first, ...rest] = this.#waiting
      if (first === undefined) return Effect.void
      const bytes = this.#waitingBytes
      this.#waiting = []
      this.#waitingBytes = 0
      this.#leavingBytes += bytes
      return Effect.andThen(this.#writer.writeAll([first, ...rest]), this.#drained).pipe(
        Effect.ensuring(
          Effect.sync(() => {
            this.#leavingBytes -= bytes
            this.#count()
          })
        )
      )
    })
  }

  /** Effect's WebSocket takes any number of bytes at once, so whether the peer takes them is seen by the socket beneath. */
  get #drained(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const socket = this.#socket
      if (socket === undefined || socket.destroyed || !socket.writableNeedDrain) return Effect.void
      return Effect.callback<void>((resume) => {
        const leave = () => socket.off("drain", go).off("close", go)
        // Of the two events one comes first; the listener of the other would stay for as long as the connection lives.
        const go = () => {
          leave()
          resume(Effect.void)
        }
        socket.on("drain", go).on("close", go)
        return Effect.sync(leave)
      })
    })
  }

  /** Writes the last answers, if the peer takes them within `lastAnswersMs`, and wakes the handlers that wait for the peer. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#isClosed = true
      this.#count()
      this.#countUnfinished()
      this.#room.openUnsafe()
      // A finalizer cannot be interrupted, and a peer that takes nothing must not hold up the end.
      const lastAnswers = Effect.interruptible(Effect.ignore(this.#flush))
      return Effect.asVoid(Effect.timeoutOption(lastAnswers, lastAnswersMs))
    })
  }

  /** Closes the socket without sending the waiting bytes. */
  get destroy(): Effect.Effect<void> {
    return Effect.andThen(
      Effect.sync(() => this.#release()),
      Effect.ignore(this.#writer.write(new Socket.CloseEvent(1008, "closed by the ledger")))
    )
  }

  /** The same without a word of farewell, which would wait for what the peer has not taken. */
  get cut(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const socket = this.#socket
      if (socket === undefined) return this.destroy
      this.#release()
      socket.destroy()
      return Effect.void
    })
  }

  /** Drops the waiting bytes and wakes all that wait for the peer, the reader included, which then sees the end. */
  #release(): void {
    this.#isClosed = true
    this.#waiting = []
    this.#waitingBytes = 0
    this.#count()
    this.#countUnfinished()
    this.#room.openUnsafe()
  }

  begin(id: string | number, isStream: boolean): void {
    this.calls.set(id, isStream)
    if (isStream) this.streams++
  }

  end(id: string | number): void {
    const isStream = this.calls.get(id)
    if (this.calls.delete(id) && isStream === true) this.streams--
  }
}

const describe = (cause: unknown): string => {
  const text = cause instanceof Error ? cause.message : String(cause)
  return `unreadable bytes (${text.slice(0, 120).replaceAll(/\s+/g, " ")})`
}
