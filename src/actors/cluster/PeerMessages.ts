/**
 * What nodes ask each other: commands sent on, heads, leases. The requests of one turn of the event loop to one node
 * travel as one message; each gets its own reply as soon as it is there.
 */
import { Cause, Data, Effect, Exit, Fiber, FiberSet, Option, Queue, Schema, Stream } from "effect"
import { Command } from "../../domain/Command.ts"
import { AccountId } from "../../domain/Ids.ts"
import { Answer, GivenBack, HeadSent, LeaseGrant, LeaseRefused } from "../accounts/Placement.ts"
import type { LocalNode } from "../commands/LocalNode.ts"

/** What one node asks of the owner of a shard. */
export const PeerRequest = Schema.TaggedUnion({
  Dispatch: { commands: Schema.Array(Command) },
  Head: { account: AccountId },
  Borrow: { account: AccountId, lease: Schema.String },
  GiveBack: { account: AccountId, lease: Schema.String, given: GivenBack }
})
export type PeerRequest = typeof PeerRequest.Type

export const PeerResponse = Schema.TaggedUnion({
  /** One a command, in order. */
  Answers: { answers: Schema.Array(Answer) },
  Head: { head: HeadSent },
  Lent: { loan: LeaseGrant },
  Refused: { error: LeaseRefused },
  Taken: {}
})
export type PeerResponse = typeof PeerResponse.Type

export const PeerReply = Schema.Struct({
  /** Which letter of the message is answered. */
  nth: Schema.Int,
  said: PeerResponse,
  /** Who answered. */
  node: Schema.String
})
export type PeerReply = typeof PeerReply.Type

/** Letters that travel in one message. */
const lettersMax = 500

const refused = (error: LeaseRefused): PeerResponse => ({ _tag: "Refused", error })

/** What this node says to a letter. */
export const answerRequest = (
  here: LocalNode["Service"],
  letter: PeerRequest
): Effect.Effect<PeerResponse> => {
  switch (letter._tag) {
    case "Dispatch":
      return Effect.map(
        here.dispatch(letter.commands),
        (answers): PeerResponse => ({ _tag: "Answers", answers })
      )
    case "Head":
      return Effect.match(here.head(letter.account), {
        onSuccess: (head): PeerResponse => ({ _tag: "Head", head }),
        onFailure: refused
      })
    case "Borrow":
      return Effect.match(here.lend(letter.account, letter.lease), {
        onSuccess: (loan): PeerResponse => ({ _tag: "Lent", loan }),
        onFailure: refused
      })
    case "GiveBack":
      return Effect.sync((): PeerResponse => {
        here.release(letter.account, letter.lease, letter.given)
        return { _tag: "Taken" }
      })
  }
}

/** Each is begun in its turn, and answered when it can be. */
export const answerRequests = (
  here: LocalNode["Service"],
  letters: ReadonlyArray<PeerRequest>,
  node: string
): Stream.Stream<PeerReply> =>
  Stream.callback<PeerReply>(
    (replies) =>
      Effect.forEach(
        letters,
        (letter, nth) =>
          Effect.map(answerRequest(here, letter), (said) => Queue.offerUnsafe(replies, { nth, said, node })),
        { concurrency: "unbounded", discard: true }
      ).pipe(Effect.andThen(Queue.end(replies))),
    { bufferSize: Math.max(1, letters.length) }
  )

/** No answer came. `isFull`: nothing was done, for the other node has too much to do. */
export class Unanswered extends Data.TaggedError("Unanswered")<{ readonly isFull: boolean }> {}

export interface PeerTransport {
  /** To the owner of the shard. */
  readonly one: (shard: number, letter: PeerRequest) => Effect.Effect<PeerReply, unknown>
  /** Letters to accounts of any shards of that node; the answers come in any order, each when it is there. */
  readonly many: (shard: number, letters: ReadonlyArray<PeerRequest>) => Stream.Stream<PeerReply, unknown>
}

/** A letter on its way. */
interface Sent {
  readonly shard: number
  readonly letter: PeerRequest
  /** Undefined when it has its answer, or whoever asked has gone. */
  resume: ((answer: Exit.Exit<PeerResponse, Unanswered>) => void) | undefined
  message: Message
}

/** Letters of one turn to one node. */
interface Message {
  readonly letters: Array<Sent>
  /** How many of them wait for their answers. */
  open: number
  carrying: Fiber.Fiber<void> | undefined
}

export type SendToPeer = (shard: number, letter: PeerRequest) => Effect.Effect<PeerResponse, Unanswered>

/**
 * Which node has a shard is known from its last answer there, and may be wrong: then it says that the account is not
 * its own, and the next letter goes to the shard itself. Carries in the scope.
 */
export const makeSendToPeer = Effect.fnUntraced(function* (carrier: PeerTransport) {
  const run = yield* FiberSet.makeRuntime<never, void>()
  const homes = new Map<number, string>()
  /** The messages of this turn, in order. */
  let leaving: Array<Message> = []
  /** Those of them that take more letters, by node, or by shard where its node is not known. */
  const open = new Map<string, Message>()

  const settle = (sent: Sent, answer: Exit.Exit<PeerResponse, Unanswered>): void => {
    const { resume } = sent
    if (resume === undefined) return
    sent.resume = undefined
    sent.message.open--
    resume(answer)
  }

  const deliver = (sent: Sent | undefined, { said, node }: PeerReply): void => {
    if (sent === undefined) return
    if (isElsewhere(said)) homes.delete(sent.shard)
    else homes.set(sent.shard, node)
    settle(sent, Exit.succeed(said))
  }

  const carried = (letters: ReadonlyArray<Sent>): Effect.Effect<void, unknown> => {
    const [first, second] = letters
    if (first === undefined) return Effect.void
    if (second === undefined)
      return Effect.map(carrier.one(first.shard, first.letter), (reply) => deliver(first, reply))
    return carrier
      .many(
        first.shard,
        letters.map(({ letter }) => letter)
      )
      .pipe(Stream.runForEach((reply) => Effect.sync(() => deliver(letters[reply.nth], reply))))
  }

  /** Until all have their answers. */
  const carry = ({ letters }: Message): Effect.Effect<void> =>
    Effect.map(Effect.exit(carried(letters)), (exit) => {
      const isFull = Exit.isFailure(exit) && isMailboxFull(exit.cause)
      for (const sent of letters) {
        if (sent.resume === undefined) continue
        homes.delete(sent.shard)
        settle(sent, Exit.fail(new Unanswered({ isFull })))
      }
    })

  /** What was written in this turn leaves at its end. */
  const leave = Effect.andThen(
    Effect.yieldNow,
    Effect.sync(() => {
      const messages = leaving
      leaving = []
      open.clear()
      for (const message of messages) {
        if (message.open > 0) message.carrying = run(carry(message))
      }
    })
  )

  const messageTo = (shard: number): Message => {
    const to = homes.get(shard) ?? `shard ${shard}`
    const found = open.get(to)
    if (found !== undefined && found.letters.length < lettersMax) return found
    const message: Message = { letters: [], open: 0, carrying: undefined }
    if (leaving.length === 0) run(leave)
    leaving.push(message)
    open.set(to, message)
    return message
  }

  const post: SendToPeer = (shard, letter) =>
    Effect.callback<PeerResponse, Unanswered>((resume) => {
      const message = messageTo(shard)
      const sent: Sent = { shard, letter, resume, message }
      message.letters.push(sent)
      message.open++
      return Effect.suspend(() => {
        if (sent.resume === undefined) return Effect.void
        sent.resume = undefined
        // Nobody waits for this message any more; its node may never say a word again.
        return --message.open === 0 && message.carrying !== undefined
          ? Effect.asVoid(Effect.forkDetach(Fiber.interrupt(message.carrying)))
          : Effect.void
      })
    })
  return post
})

/** The node that answered has the shard no more. */
const isElsewhere = (said: PeerResponse): boolean =>
  said._tag === "Answers"
    ? said.answers.some(({ _tag }) => _tag === "Moved")
    : said._tag === "Refused" && said.error._tag === "NotMine"

const isMailboxFull = (cause: Cause.Cause<unknown>): boolean => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  return typeof error === "object" && error !== null && "_tag" in error && error._tag === "MailboxFull"
}
