/** Heads that were written enter; they leave again without a look into the read model, as long as they may be right. */
import { Effect } from "effect"
import type { OpenedHead } from "../../domain/Books.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Looked, ProjectionModel } from "../../infra/readmodel/ReadModel.ts"

/**
 * What is kept is only a guess: a batch that was folded on it is refused where the read model is elsewhere, because
 * another process moved an account or the tables were exchanged or lost. Then all is forgotten, and read again.
 */
export const makeProjectedHeadCache = (readModel: Pick<ProjectionModel, "look">, headsMax: number) => {
  /** The longest unused first. */
  const heads = new Map<AccountId, OpenedHead>()
  let generation: number | undefined

  const forgetAllUnsafe = (): void => {
    heads.clear()
    generation = undefined
  }

  return {
    /** The heads to fold on; undefined, and all forgotten, when the tables are others than those of what was kept. */
    look: Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
      const kept = new Map<AccountId, OpenedHead>()
      const unknown: Array<AccountId> = []
      // Others may write and forget during the look.
      const of = generation
      for (const account of accounts) {
        const head = heads.get(account)
        if (head === undefined) unknown.push(account)
        else kept.set(account, head)
      }
      if (unknown.length === 0 && of !== undefined) return { generation: of, heads: kept } satisfies Looked
      const looked = yield* readModel.look(unknown)
      if (kept.size > 0 && looked.generation !== of) {
        forgetAllUnsafe()
        return undefined
      }
      for (const [account, head] of looked.heads) kept.set(account, head)
      return { generation: looked.generation, heads: kept } satisfies Looked
    }),
    /** In order of version: the last of an account is kept. */
    rememberUnsafe: (of: number, written: ReadonlyArray<OpenedHead>): void => {
      if (generation !== of) forgetAllUnsafe()
      generation = of
      for (const head of written) {
        heads.delete(head.account.id)
        heads.set(head.account.id, head)
      }
      for (const account of heads.keys()) {
        if (heads.size <= headsMax) break
        heads.delete(account)
      }
    },
    forgetUnsafe: (accounts: ReadonlyArray<AccountId>): void => {
      for (const account of accounts) heads.delete(account)
    },
    forgetAllUnsafe
  }
}
