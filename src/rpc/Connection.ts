/** One peer's socket: its bytes enter and messages leave, and what it holds of this node is counted. */
import { type Clock, Effect, Result, Semaphore } from "effect"
import type { RpcMessage, RpcSerialization } from "effect/rpc"
import { Socket } from "effect/socket"
import { type Message, readMessage } from "./Envelope.ts"
import type { Badge } from "./Gate.ts"

/** The writing half of a socket. */
export type Writer = Effect.Success<Socket.Socket["writer"]>

/** What came of some bytes. */
export type Received =
  | { readonly _tag: "Messages"; readonly messages: ReadonlyArray<Message> }
  | { readonly _tag: "Broken"; readonly reason: string }

export class Connection {
  readonly id: number
  readonly peer: string
  readonly authorization: string | undefined
  readonly badge: Badge = { token: undefined, caller: undefined }
  /** Calls that are not answered, each with whether it is a stream. */
  readonly calls = new Map<string | number, boolean>()
  refusals = 0
  streams = 0
  /** Bytes of a message that has not ended, about. */
  buffered = 0
  heardAt: number
  /** Since when the peer takes nothing of what is written to it. */
  stuckSince: number | undefined = undefined
  readonly #writer: Writer
  readonly #parser: RpcSerialization.Parser
  /** One write at a time: however many answers wait for a slow peer, its socket knows of one. */
  readonly #turn = Semaphore.makeUnsafe(1)
  #writes = 0

  constructor(options: {
    readonly id: number
    readonly peer: string
    readonly authorization: string | undefined
    readonly now: number
    readonly writer: Writer
    readonly parser: RpcSerialization.Parser
  }) {
    this.id = options.id
    this.peer = options.peer
    this.authorization = options.authorization
    this.heardAt = options.now
    this.#writer = options.writer
    this.#parser = options.parser
  }

  /** Parses what came; a parser that has failed once cannot be trusted with the rest. */
  receiveUnsafe(data: Uint8Array | string, now: number): Received {
    const decoded = Result.try(() => this.#parser.decode(data))
    if (Result.isFailure(decoded)) return { _tag: "Broken", reason: describe(decoded.failure) }
    if (decoded.success.length === 0) {
      this.buffered += data.length
      return { _tag: "Messages", messages: [] }
    }
    this.heardAt = now
    this.buffered = data.length
    const messages: Array<Message> = []
    for (const value of decoded.success) {
      const message = readMessage(value)
      if (message === undefined) return { _tag: "Broken", reason: "a message that is none of the protocol" }
      messages.push(message)
    }
    return { _tag: "Messages", messages }
  }

  /** Waits while the peer does not take it. */
  write(response: RpcMessage.FromServerEncoded, clock: Clock.Clock): Effect.Effect<void> {
    return Effect.suspend(() => {
      const encoded = this.#parser.encode(response)
      if (encoded === undefined) return Effect.void
      this.stuckSince ??= clock.currentTimeMillisUnsafe()
      this.#writes++
      return Effect.ensuring(
        this.#turn.withPermit(Effect.ignore(this.#writer.write(encoded))),
        Effect.sync(() => {
          // Others may wait still, but one that was taken shows that the peer reads.
          this.stuckSince = --this.#writes === 0 ? undefined : clock.currentTimeMillisUnsafe()
        })
      )
    })
  }

  /** Drops the socket with whatever was not sent. */
  get destroy(): Effect.Effect<void> {
    return Effect.ignore(this.#writer.write(new Socket.CloseEvent(1008, "closed by the ledger")))
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
