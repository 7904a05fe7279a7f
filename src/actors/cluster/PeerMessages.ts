/**
 * What nodes ask of each other about accounts, and what they answer. The owner of an account decides its commands, so a
 * command given to another node is sent there, and a transfer over two nodes takes an account on lease from its owner.
 */
import { Data, Effect, Exit, Result, Schema } from "effect"
import { Command } from "../../domain/Command.ts"
import { AccountId, Instant } from "../../domain/Ids.ts"
import { Answer, HeadSent, LeaseGrant, LeaseRefused, NotMine, Returned } from "../accounts/Placement.ts"
import type { LocalNode } from "../commands/LocalNode.ts"

/** What one node asks of the owner of a shard. */
export const PeerRequest = Schema.TaggedUnion({
  /** `isAgain`: they were sent before, and some have no answer. Nodes of another form are not told. */
  Dispatch: { commands: Schema.Array(Command), isAgain: Schema.optionalKey(Schema.Boolean) },
  Head: { account: AccountId },
  Borrow: { account: AccountId, lease: Schema.String },
  GiveBack: { account: AccountId, lease: Schema.String, given: Returned }
})
export type PeerRequest = typeof PeerRequest.Type

/**
 * What may be said without being answered: it needs none, may be lost, and takes no credit. Anything else said so would pass by the
 * bound on what another node may ask.
 */
export type PeerNotice = Extract<PeerRequest, { readonly _tag: "GiveBack" }>
export const isNotice = (request: PeerRequest): request is PeerNotice => request._tag === "GiveBack"

export const PeerResponse = Schema.TaggedUnion({
  /** One a command, in order. */
  Answers: { answers: Schema.Array(Answer) },
  /** `at`: the instant at which it was told (`ToldHead`). Nodes of another form are not told. */
  Head: { head: HeadSent, at: Schema.optionalKey(Instant) },
  Lent: { loan: LeaseGrant },
  Refused: { error: LeaseRefused },
  Taken: {}
})
export type PeerResponse = typeof PeerResponse.Type

/** Why no answer came. */
export type UnansweredReason =
  /** The connection ended, or the other node met a defect: what became of the request is not known. */
  | "lost"
  /** Nothing was done: the other node has, or was sent, as much as it takes. */
  | "full"
  /** Nothing was done: the other node's program does not know what is asked. */
  | "not understood"

export class Unanswered extends Data.TaggedError("Unanswered")<{ readonly reason: UnansweredReason }> {
  get isFull(): boolean {
    return this.reason === "full"
  }
}

/** Puts a request to the owner of a shard. */
export type SendToPeer = (shard: number, request: PeerRequest) => Effect.Effect<PeerResponse, Unanswered>

/**
 * The same without a fiber: `resume` is called once, perhaps before this returns. Calling what this returns says that the answer is not
 * waited for any more.
 */
export type AskPeer = (
  shard: number,
  request: PeerRequest,
  resume: (answer: Exit.Exit<PeerResponse, Unanswered>) => void
) => (() => void) | undefined

/** How much of another node's credit a request takes until it is answered. */
export const weightOf = (request: PeerRequest): number => {
  switch (request._tag) {
    // One without commands is answered too.
    case "Dispatch":
      return Math.max(1, request.commands.length)
    // What returns an account must pass where nothing else does, and is bounded by what was leased.
    case "GiveBack":
      return 0
    default:
      return 1
  }
}

const refused = (error: LeaseRefused): PeerResponse => ({ _tag: "Refused", error })

/** What a node answers that does not own the account: nothing was done. */
export const notOwned = (request: PeerRequest): PeerResponse =>
  request._tag === "Dispatch"
    ? { _tag: "Answers", answers: request.commands.map((): Answer => ({ _tag: "Moved" })) }
    : refused(new NotMine())

/**
 * Answers a request; `respond` is called once. Most requests need no fiber: they wait as entries of the accounts that they
 * are about. Answers the function by which the caller's wait is ended before, or the effect that remains to be run.
 */
export const answerRequest = (
  here: LocalNode["Service"],
  request: PeerRequest,
  respond: (response: PeerResponse) => void
): (() => void) | Effect.Effect<PeerResponse> | undefined => {
  switch (request._tag) {
    case "Dispatch": {
      const [first, second] = request.commands
      // It is decided whether or not the caller waits.
      if (first !== undefined && second === undefined)
        return void here.decide(first, (answer) => respond({ _tag: "Answers", answers: [answer] }))
      return Effect.map(
        here.dispatch(request.commands, request.isAgain ?? false),
        (answers): PeerResponse => ({ _tag: "Answers", answers })
      )
    }
    case "Head":
      return Effect.match(here.head(request.account), {
        onSuccess: ({ head, at }): PeerResponse => ({
          _tag: "Head",
          head,
          ...(at === undefined ? {} : { at })
        }),
        onFailure: refused
      })
    case "Borrow":
      return here.requestLease(request.account, request.lease, (granted) =>
        respond(
          Exit.isSuccess(granted)
            ? { _tag: "Lent", loan: granted.value }
            : Result.match(Exit.findError(granted), {
                onSuccess: refused,
                onFailure: () => refused(new NotMine())
              })
        )
      )
    case "GiveBack":
      here.release(request.account, request.lease, request.given)
      respond({ _tag: "Taken" })
      return undefined
  }
}
