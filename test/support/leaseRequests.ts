/** A lease asked of a node as an effect, as tests ask for one that have no connection between their nodes. */
import { Effect } from "effect"
import type { LeaseGrant, LeaseRefused } from "../../src/actors/accounts/Placement.ts"
import type { LocalNode } from "../../src/actors/commands/LocalNode.ts"
import type { AccountId } from "../../src/domain/Ids.ts"

export const requestLeaseOf = (
  here: Pick<LocalNode["Service"], "requestLease">,
  account: AccountId,
  lease: string
) =>
  Effect.callback<LeaseGrant, LeaseRefused>((resume) => {
    const withdraw = here.requestLease(account, lease, resume)
    return withdraw === undefined ? undefined : Effect.sync(withdraw)
  })
