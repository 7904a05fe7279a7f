/**
 * What two nodes say to each other over one connection: requests and their responses, which shards each owns, and how much
 * each takes at once. A request and its response are entries in two maps and bytes in two frames; neither has a fiber, a
 * stream or a queue of its own on the way.
 *
 * Credit: each node says at the beginning how much (`credit`, in commands) it takes from the other without having answered
 * it. A node that has used that up refuses its callers at once, and holds nothing for them; so a node that does not answer, or
 * does not read, costs its peers a bounded amount of memory. What another node is told is bounded too: one that asks and does
 * not take its answers is refused further ones, and then loses the connection.
 */
import { Effect, Exit, type Fiber, Result, Schema } from "effect"
import type { ByteReader, ByteWriter } from "../../infra/cluster/CompactCodec.ts"
import { MalformedBytes } from "../../infra/cluster/CompactCodec.ts"
import type { PeerConnection } from "../../infra/cluster/PeerConnection.ts"
import { formFor, type PeerForm, textForm } from "./PeerCodec.ts"
import {
  type answerRequest,
  isNotice,
  type PeerNotice,
  type PeerRequest,
  type PeerResponse,
  Unanswered,
  type UnansweredReason,
  weightOf
} from "./PeerMessages.ts"

/** Who is at the other end. Says itself first, in JSON, so that it can have further fields. */
export const Introduction = Schema.Struct({
  /** The node's name, and where it is reached: the address by which the cluster knows it. */
  node: Schema.String,
  address: Schema.String,
  /** The form of its messages (see PeerCodec.ts). */
  form: Schema.String,
  /** Commands that it takes from the other node before it has answered some. */
  credit: Schema.Int
})
export type Introduction = typeof Introduction.Type

const introductionJson = Schema.fromJsonString(Introduction)
const printIntroduction = Schema.encodeSync(introductionJson)
const readIntroduction = Schema.decodeResult(introductionJson)

/** Each message begins with its kind. */
const kind = {
  introduction: 1,
  /** Which shards the sender owns from now on: all of them, a bit each. */
  shards: 2,
  request: 3,
  response: 4,
  /** Why a request has no response. */
  unanswered: 5,
  /** The caller of the request has gone. */
  cancel: 6,
  /** A request without an answer; said only to a node of the same form, which knows this kind. */
  notice: 7
} as const

/** The longest introduction, and the longest list of shards (65,536 of them), that a node sends, in bytes. */
const introductionBytesMax = 4_096
const shardsBytesMax = 8_192

const unansweredReasons: ReadonlyArray<UnansweredReason> = ["lost", "full", "not understood"]

/** A request on its way. */
interface Asked {
  readonly weight: number
  /** How many looks it still waits for its answer; see `look`. */
  looks: number
  /** Undefined once the caller has gone: then only the credit of the request is waited for. */
  resume: ((answer: Exit.Exit<PeerResponse, Unanswered>) => void) | undefined
}

interface ConversationParts {
  readonly connection: PeerConnection
  readonly introduction: Introduction
  /**
   * What was said and has not left this process may be so much before further requests are refused, of either node. Answers go
   * on until it is twice as much; then they are lost, and asked for again. Once it has so much of refusals on top, the connection ends.
   */
  readonly unsentBytesMax: number
  /** Over how many looks a request waits for its answer. */
  readonly looksOf: (request: PeerRequest) => number
  /** See `answerRequest`. */
  readonly answer: (
    request: PeerRequest,
    respond: (response: PeerResponse) => void
  ) => ReturnType<typeof answerRequest>
  readonly run: <A>(effect: Effect.Effect<A>) => Fiber.Fiber<A>
  readonly onIntroduced: (peer: Introduction) => void
  /** By number, whether the other node owns the shard. */
  readonly onShards: (owned: ReadonlyArray<boolean>) => void
}

export class PeerConversation {
  readonly #parts: ConversationParts
  readonly #asked = new Map<number, Asked>()
  /** Requests of the other node that are not answered; each value ends the wait of its request. */
  readonly #answering = new Map<number, () => void>()
  #peer: Introduction | undefined
  #form: PeerForm = textForm
  #lastId = 0
  /** The last request of the other node: each has a greater id than the one before. */
  #lastAskedId = 0
  /** What the other node has not answered yet, and what this one has not. */
  #askedWeight = 0
  #answeringWeight = 0
  /** Of the refusals that were said since more was unsent than `unsentBytesMax`. */
  #refusedBytes = 0
  #isOver = false

  constructor(parts: ConversationParts) {
    this.#parts = parts
    parts.connection.send((writer) => {
      writer.byte(kind.introduction)
      writer.text(printIntroduction(parts.introduction))
    })
  }

  /** Undefined until it has said so. */
  get peer(): Introduction | undefined {
    return this.#peer
  }

  /** Requests of this node that are not answered. */
  get openRequests(): number {
    return this.#asked.size
  }

  /** Tells the other node which shards are this one's. */
  tellShards(owned: ReadonlyArray<boolean>): void {
    const bits = Buffer.alloc((owned.length + 7) >> 3)
    for (const [shard, isOwned] of owned.entries()) {
      if (isOwned) bits[shard >> 3] = (bits[shard >> 3] ?? 0) | (1 << (shard & 7))
    }
    this.#parts.connection.send((writer) => {
      writer.byte(kind.shards)
      writer.blob(bits)
    })
  }

  /** Asks; returns the function to call when the caller waits for the answer no more. */
  ask(
    request: PeerRequest,
    resume: (answer: Exit.Exit<PeerResponse, Unanswered>) => void
  ): (() => void) | undefined {
    const weight = weightOf(request)
    if (this.#isOver) return this.#refuse(resume, "lost")
    if (weight > 0 && this.#isFull(weight)) return this.#refuse(resume, "full")
    const id = ++this.#lastId
    const isSaid = this.#say(kind.request, id, (writer) => this.#form.request.write(writer, request))
    // It has no form, or is longer than any frame: so it was not sent.
    if (!isSaid) return this.#refuse(resume, "not understood")
    const asked: Asked = { weight, looks: this.#parts.looksOf(request), resume }
    this.#asked.set(id, asked)
    this.#askedWeight += weight
    return () => this.#forget(id, asked)
  }

  /** Says what needs no answer, and may be lost. False where the other node may not understand that: then it is to be asked. */
  tell(request: PeerNotice): boolean {
    if (this.#isOver || this.#peer?.form !== this.#parts.introduction.form) return false
    const said = Result.try(() =>
      this.#parts.connection.send((writer) => {
        writer.byte(kind.notice)
        this.#form.request.write(writer, request)
      })
    )
    return Result.isSuccess(said)
  }

  #forget(id: number, asked: Asked): void {
    if (asked.resume === undefined) return
    asked.resume = undefined
    this.#say(kind.cancel, id)
  }

  /**
   * Called from time to time: a request that has waited over as many looks as it may has an unknown outcome. One timer
   * for all of them, because a timeout around each costs two fibers and a timer.
   */
  look(): void {
    for (const [id, asked] of this.#asked) {
      if (asked.resume === undefined || --asked.looks > 0) continue
      const { resume } = asked
      this.#forget(id, asked)
      resume(Exit.fail(new Unanswered({ reason: "lost" })))
    }
  }

  #isFull(weight: number): boolean {
    // A request that is heavier than all credit passes alone.
    const isCredited = this.#askedWeight === 0 || this.#askedWeight + weight <= (this.#peer?.credit ?? 0)
    return !isCredited || this.#parts.connection.unsentBytes() > this.#parts.unsentBytesMax
  }

  #refuse(resume: (answer: Exit.Exit<never, Unanswered>) => void, reason: UnansweredReason): undefined {
    resume(Exit.fail(new Unanswered({ reason })))
  }

  /** Reads the messages of a frame. Throws where the other side is no node that this one understands. */
  receive(reader: ByteReader): void {
    while (!reader.isAtEnd) this.#receiveOne(reader)
  }

  #receiveOne(reader: ByteReader): void {
    const what = reader.byte()
    if (what === kind.introduction) return this.#introduced(reader.text())
    if (this.#peer === undefined) throw new MalformedBytes("the other side did not say who it is")
    switch (what) {
      case kind.shards:
        return this.#shardsTold(reader.blob())
      case kind.request:
        return this.#requested(reader)
      case kind.response: {
        const id = reader.uint()
        const response = this.#form.response.read(reader)
        // It was done, but what came of it cannot be read: the caller must ask again.
        const answer = Result.isSuccess(response)
          ? Exit.succeed(response.success)
          : Exit.fail(new Unanswered({ reason: "lost" }))
        return this.#answered(id, answer)
      }
      case kind.unanswered: {
        const id = reader.uint()
        const reason = unansweredReasons[reader.byte()] ?? "lost"
        return this.#answered(id, Exit.fail(new Unanswered({ reason })))
      }
      case kind.notice: {
        const request = this.#form.request.read(reader)
        if (Result.isFailure(request)) return
        if (!isNotice(request.success))
          throw new MalformedBytes(`${request.success._tag} said as a notice, which only asks for an answer`)
        const rest = this.#parts.answer(request.success, () => {})
        if (Effect.isEffect(rest)) this.#parts.run(rest)
        return
      }
      case kind.cancel:
        this.#answering.get(reader.uint())?.()
        return
      default:
        throw new MalformedBytes(`a message of the unknown kind ${what}`)
    }
  }

  #shardsTold(bits: Buffer): void {
    if (bits.length > shardsBytesMax)
      throw new MalformedBytes("the other node announced more shards than there are")
    this.#parts.onShards(readBits(bits))
  }

  #introduced(text: string): void {
    if (this.#peer !== undefined) throw new MalformedBytes("the other side said twice who it is")
    const peer = readIntroduction(text)
    if (text.length > introductionBytesMax || Result.isFailure(peer))
      throw new MalformedBytes("the other side did not say who it is")
    this.#peer = peer.success
    this.#form = formFor(this.#parts.introduction.form, peer.success.form)
    this.#parts.onIntroduced(peer.success)
  }

  #requested(reader: ByteReader): void {
    const id = reader.uint()
    // Two of one id would take each other's answer, and a cancellation could reach one of them alone.
    if (id <= this.#lastAskedId) throw new MalformedBytes(`request ${id} came after ${this.#lastAskedId}`)
    this.#lastAskedId = id
    const request = this.#form.request.read(reader)
    if (Result.isFailure(request)) return this.#sayUnanswered(id, "not understood")
    const weight = weightOf(request.success)
    if (weight > 0 && this.#isAnsweringTooMuch(weight)) return this.#sayUnanswered(id, "full")
    this.#answeringWeight += weight
    let isOpen = true
    const close = (): boolean => {
      if (!isOpen) return false
      isOpen = false
      this.#answering.delete(id)
      this.#answeringWeight -= weight
      return true
    }
    const respond = (response: PeerResponse): void => {
      if (close()) this.#sayResponse(id, response)
    }
    const fail = (): void => {
      if (close()) this.#sayUnanswered(id, "lost")
    }
    const rest = Result.try(() => this.#parts.answer(request.success, respond))
    if (Result.isFailure(rest)) return fail()
    if (!Effect.isEffect(rest.success)) {
      const withdraw = rest.success
      const end = () => {
        withdraw?.()
        fail()
      }
      if (isOpen) this.#answering.set(id, end)
      return
    }
    const fiber = this.#parts.run(rest.success)
    fiber.addObserver((exit) => (Exit.isSuccess(exit) ? respond(exit.value) : fail()))
    if (isOpen) this.#answering.set(id, () => fiber.interruptUnsafe())
  }

  /** The other node counts as well; this is for one that counts wrongly, or does not take its answers. */
  #isAnsweringTooMuch(weight: number): boolean {
    const { connection, unsentBytesMax, introduction } = this.#parts
    const isBeyondCredit = this.#answeringWeight > 0 && this.#answeringWeight + weight > introduction.credit
    return isBeyondCredit || connection.unsentBytes() > unsentBytesMax
  }

  /** Answers may be large: a node that takes them slowly keeps its connection, and asks again for those that there is no room for. */
  #sayResponse(id: number, response: PeerResponse): void {
    const { connection, unsentBytesMax } = this.#parts
    const hasRoom = connection.unsentBytes() <= 2 * unsentBytesMax
    const isSaid =
      hasRoom && this.#say(kind.response, id, (writer) => this.#form.response.write(writer, response))
    if (!isSaid) this.#sayUnanswered(id, "lost")
  }

  /** Even a refusal takes memory until the other node has read it. */
  #sayUnanswered(id: number, reason: UnansweredReason): void {
    const { connection, unsentBytesMax } = this.#parts
    const before = connection.unsentBytes()
    this.#say(kind.unanswered, id, (writer) => writer.byte(unansweredReasons.indexOf(reason)))
    this.#refusedBytes = before > unsentBytesMax ? this.#refusedBytes + connection.unsentBytes() - before : 0
    if (this.#refusedBytes > unsentBytesMax) connection.end("the other node does not take its answers")
  }

  /** Says something about a request. False where the rest of the message cannot be written. */
  #say(what: number, id: number, writeRest?: (writer: ByteWriter) => void): boolean {
    return Result.isSuccess(
      Result.try(() =>
        this.#parts.connection.send((writer) => {
          writer.byte(what)
          writer.uint(id)
          writeRest?.(writer)
        })
      )
    )
  }

  #answered(id: number, answer: Exit.Exit<PeerResponse, Unanswered>): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    this.#asked.delete(id)
    this.#askedWeight -= asked.weight
    asked.resume?.(answer)
  }

  /** The connection is over: no more answers come, and those of this node are not waited for. */
  end(): void {
    this.#isOver = true
    for (const id of [...this.#asked.keys()])
      this.#answered(id, Exit.fail(new Unanswered({ reason: "lost" })))
    for (const end of [...this.#answering.values()]) end()
  }
}

const readBits = (bits: Buffer): ReadonlyArray<boolean> =>
  Array.from({ length: bits.length * 8 }, (_, shard) => ((bits[shard >> 3] ?? 0) & (1 << (shard & 7))) !== 0)
