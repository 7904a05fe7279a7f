/** One account enters; its head leaves, read by one statement for all who ask while others are under way. */
import { Effect, Exit, Latch, Request, RequestResolver } from "effect"
import type { OpenedHead } from "../../domain/Books.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"

interface HeadAsked extends Request.Request<OpenedHead | undefined, StoreUnavailable> {
  readonly _tag: "HeadAsked"
  readonly account: AccountId
}
const HeadAsked = Request.tagged<HeadAsked>("HeadAsked")

type Heads = ReadonlyMap<AccountId, OpenedHead>

/**
 * As with commits, no timer: a question goes at once where a statement may start, and the busier the more go
 * together. None joins a statement that has begun, so each sees all that was written before it was asked.
 */
export const makeHeadAsker = (
  look: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<Heads, StoreUnavailable>,
  limits: { readonly statementsMax: number; readonly accountsMax: number }
): ((account: AccountId) => Effect.Effect<OpenedHead | undefined, StoreUnavailable>) => {
  const free = Latch.makeUnsafe(true)
  let running = 0
  const begin = Effect.sync(() => {
    running++
    if (running >= limits.statementsMax) free.closeUnsafe()
  })
  const end = Effect.sync(() => {
    running--
    if (running < limits.statementsMax) free.openUnsafe()
  })
  const resolver = RequestResolver.make<HeadAsked>((asked) =>
    Effect.acquireUseRelease(
      begin,
      () =>
        Effect.map(look([...new Set(asked.map(({ request }) => request.account))]), (heads) =>
          answer(asked, heads)
        ),
      () => end
    )
  ).pipe(
    // The fibers that are awake say what they ask for before the first of them is answered.
    RequestResolver.setDelayEffect(Effect.andThen(Effect.yieldNow, free.await)),
    RequestResolver.batchN(limits.accountsMax)
  )
  return (account) => Effect.request(HeadAsked({ account }), resolver)
}

const answer = (asked: ReadonlyArray<Request.Entry<HeadAsked>>, heads: Heads): void => {
  for (const entry of asked) entry.completeUnsafe(Exit.succeed(heads.get(entry.request.account)))
}
