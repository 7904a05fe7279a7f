/** The open holds of an account by expiry. */
import { apiPath } from "../api.ts"
import { usePath } from "../asking.ts"
import { navigate } from "../navigation.tsx"
import { AccountLink, Amount, Empty, Field, Filters, Section, Shown, Title } from "../parts.tsx"
import { links } from "../route.ts"
import type { Account } from "../wire.ts"
import { HoldsTable } from "./HoldsTable.tsx"

const OfAccount = ({ account }: { readonly account: string }) => {
  const asked = usePath<Account>(apiPath(["v1", "accounts", account]))
  return (
    <Shown asked={asked} what="the holds">
      {({ asset, holds = [], held = "0" }) => (
        <Section
          title="By expiry"
          aside={
            <>
              <AccountLink id={account} /> holds <Amount units={held} asset={asset} />
            </>
          }
        >
          <HoldsTable holds={holds} asset={asset} at={undefined} />
        </Section>
      )}
    </Shown>
  )
}

export const HoldsView = ({ account }: { readonly account: string }) => (
  <>
    <Title kind="Holds" title={account === "" ? "Open holds" : account} />
    <Filters label="Whose holds" onSend={({ account: asked = "" }) => navigate(links.holds(asked))}>
      <Field label="Account" name="account" value={account} placeholder="id" size={28} />
    </Filters>
    {account === "" ? (
      <Empty>
        Name an account to see its open holds. The node has no list of the holds of all accounts yet.
      </Empty>
    ) : (
      <OfAccount account={account} />
    )}
  </>
)
