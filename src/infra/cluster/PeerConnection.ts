/**
 * Carries messages between two nodes over one connection, many in a frame: at a high rate most of the cost of a message is in its
 * writes and reads, so what is to be said in one turn of the event loop shares one of each.
 *
 * A frame is its length (four bytes, big-endian) and that many bytes of messages; an empty frame says that the node lives.
 */
import { Clock, Data, Deferred, Effect, FiberSet, Result } from "effect"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { ByteReader, ByteWriter, MalformedBytes } from "./CompactCodec.ts"
import { type ByteStream, silentMs } from "./PeerPort.ts"

/** A frame of so many bytes takes no more messages. */
const frameFullBytes = 64 * 1_024
/** No node sends a longer one, so the announcement of a longer one ends the connection before it is read. */
const frameBytesMax = 64 * 1_024 * 1_024
const headerBytes = 4
/**
 * So many frames of each `windowMs` leave at the end of their turn, the others a millisecond later, with what was said
 * meanwhile. Questions that follow one another are not held back; a node that is spoken to all the time gets a thousand frames
 * a second, and not one a turn, which under load is hardly more than one a message.
 */
const promptFramesMax = 8
const windowMs = 10
const gatherMs = 1
/** How often a connection is looked at, and a node that has nothing to say says that it lives, in milliseconds. */
const lookMs = 500

/** The connection is over, and why. */
class PeerConnectionEnded extends Data.TaggedError("PeerConnectionEnded")<{
  readonly reason: string
}> {
  override get message() {
    return this.reason
  }
}

/** Cuts what arrives into frames. */
export class FrameReader {
  readonly #onFrame: (frame: ByteReader) => void
  /** The beginning of a frame whose end has not arrived. */
  #held: Array<Uint8Array> = []
  #heldBytes = 0
  /** How many bytes must be there before it is worth looking again. */
  #needed = headerBytes

  constructor(onFrame: (frame: ByteReader) => void) {
    this.#onFrame = onFrame
  }

  /** Throws `MalformedBytes` for what no node sends. */
  push(chunk: Uint8Array): void {
    this.#held.push(chunk)
    this.#heldBytes += chunk.length
    if (this.#heldBytes < this.#needed) return
    const [only] = this.#held
    const bytes =
      this.#held.length === 1 && only !== undefined
        ? Buffer.from(only.buffer, only.byteOffset, only.length)
        : Buffer.concat(this.#held)
    const rest = this.#readFrames(bytes)
    this.#held = rest.length === 0 ? [] : [rest]
    this.#heldBytes = rest.length
  }

  #readFrames(bytes: Buffer): Buffer {
    let start = 0
    for (;;) {
      const left = bytes.length - start
      this.#needed = headerBytes
      if (left < headerBytes) break
      const size = bytes.readUInt32BE(start)
      if (size > frameBytesMax) throw new MalformedBytes(`a frame of ${size} bytes was announced`)
      this.#needed = headerBytes + size
      if (left < this.#needed) break
      const begin = start + headerBytes
      start = begin + size
      if (size > 0) this.#onFrame(new ByteReader(bytes, begin, start))
    }
    return bytes.subarray(start)
  }
}

export interface PeerConnection {
  /** Writes a message into the frame of this turn of the event loop. If `write` throws, its bytes are removed again. */
  readonly send: (write: (writer: ByteWriter) => void) => void
  /** Bytes of messages that have not left this process. */
  readonly unsentBytes: () => number
  /** Ends the connection; messages that were sent may be lost. */
  readonly end: (reason: string) => void
  /** Hands over each frame that arrives, until the connection ends. */
  readonly receive: (onFrame: (frame: ByteReader) => void) => Effect.Effect<never, PeerConnectionEnded>
}

/** Messages over a stream of bytes; writes in the scope. */
export const makePeerConnection = Effect.fnUntraced(function* (stream: ByteStream) {
  const run = yield* FiberSet.makeRuntime<never>()
  const clock = yield* Clock.Clock
  const over = yield* Deferred.make<never, PeerConnectionEnded>()
  const frames: Array<Buffer> = []
  let open: ByteWriter | undefined
  let sealedBytes = 0
  let isLeaving = false
  let isOver = false
  let hasSent = false
  let silentLooks = 0
  let windowEndsAt = 0
  let framesOfWindow = 0

  const end = (reason: string): void => {
    isOver = true
    Deferred.doneUnsafe(over, Effect.fail(new PeerConnectionEnded({ reason })))
  }

  const seal = (): void => {
    if (open === undefined) return
    open.setUint32(0, open.length - headerBytes)
    frames.push(open.take())
    sealedBytes += open.length
    open = undefined
  }

  /** The end of this turn, or, where many frames left in the last ones, a little later. */
  const gather = Effect.suspend(() => {
    const now = elapsedMsUnsafe(clock)
    if (now >= windowEndsAt) {
      windowEndsAt = now + windowMs
      framesOfWindow = 0
    }
    return ++framesOfWindow > promptFramesMax ? Effect.sleep(gatherMs) : Effect.yieldNow
  })

  /** One frame after another, each when the one before is on its way. */
  const leave = Effect.gen(function* () {
    yield* gather
    for (;;) {
      seal()
      const frame = frames.shift()
      if (frame === undefined) break
      hasSent = true
      yield* stream.write(frame)
      sealedBytes -= frame.length
    }
    isLeaving = false
  }).pipe(Effect.catch((error) => Effect.sync(() => end(error.message))))

  const startLeaving = (): void => {
    if (isLeaving) return
    isLeaving = true
    run(leave)
  }

  const send = (write: (writer: ByteWriter) => void): void => {
    if (isOver) return
    if (open === undefined) {
      open = new ByteWriter()
      open.placeUint32()
    }
    const writer = open
    const start = writer.length
    const written = Result.try({ try: () => write(writer), catch: (cause) => cause })
    if (Result.isFailure(written) || writer.length - start > frameBytesMax - frameFullBytes) {
      writer.cutTo(start)
      throw Result.isFailure(written) ? written.failure : new MalformedBytes("a message is too long")
    }
    if (writer.length >= frameFullBytes) seal()
    startLeaving()
  }

  const look = Effect.sync(() => {
    // Looks are counted, not time: a process that was frozen has not listened, and its peer may well have spoken.
    if (++silentLooks * lookMs > silentMs) end(`nothing was heard for ${silentMs} ms`)
    if (!hasSent && !isLeaving) {
      open = new ByteWriter(headerBytes)
      open.placeUint32()
      startLeaving()
    }
    hasSent = false
  })

  const receive = (onFrame: (frame: ByteReader) => void) => {
    const reader = new FrameReader(onFrame)
    const read = Effect.flatMap(
      Effect.mapError(stream.pull, (error) => new PeerConnectionEnded({ reason: error.message })),
      (chunks) =>
        Effect.try({
          try: () => {
            silentLooks = 0
            for (const chunk of chunks) reader.push(chunk)
          },
          catch: (cause) =>
            new PeerConnectionEnded({ reason: cause instanceof Error ? cause.message : String(cause) })
        })
    )
    return Effect.raceAllFirst([
      Effect.forever(read),
      Effect.forever(Effect.delay(look, lookMs)),
      Deferred.await(over)
    ]).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          isOver = true
        })
      )
    )
  }

  return {
    send,
    unsentBytes: () => sealedBytes + (open?.length ?? 0),
    end,
    receive
  } satisfies PeerConnection
})
