/** The open holds of an account, or of all accounts, by expiry. */
import { apiPath } from "../api.ts"
import { useNow, usePath } from "../asking.ts"
import { navigate, useOption } from "../navigation.tsx"
import {
  AccountLink,
  Amount,
  type Column,
  Empty,
  Field,
  Filters,
  Section,
  Shown,
  Table,
  Title,
  TransactionLink
} from "../parts.tsx"
import { changed, links } from "../route.ts"
import type { Account, HoldOfAccount, Page } from "../wire.ts"
import { expiresColumn, HoldsTable, toColumn } from "./HoldsTable.tsx"

const pageRows = 100

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

const columnsAt = (now: number): ReadonlyArray<Column<HoldOfAccount>> => [
  expiresColumn(now),
  { head: "Account", cell: ({ account }) => <AccountLink id={account} /> },
  { head: "Hold", cell: ({ id }) => <TransactionLink id={id} /> },
  toColumn,
  {
    head: "Remaining",
    cell: ({ remaining, asset }) => <Amount units={remaining} asset={asset} />,
    isNumber: true
  }
]

const OfAll = ({ prefix, before }: { readonly prefix: string; readonly before: string }) => {
  const page = useOption("page")
  const now = useNow(1_000)
  const asked = usePath<Page<HoldOfAccount>>(
    apiPath(["v1", "holds"], { prefix, expiringBefore: before, cursor: page, limit: pageRows })
  )
  return (
    <Section title="By expiry" aside="holds that never expire are with their accounts">
      <Shown asked={asked} what="the holds">
        {({ rows, next }) => (
          <>
            {rows.length === 0 ? (
              <Empty>No open hold expires like this.</Empty>
            ) : (
              <Table
                label="Open holds by expiry"
                columns={columnsAt(now)}
                rows={rows}
                keyOf={({ account, id }) => `${account} ${id}`}
              />
            )}
            {typeof next === "string" && (
              <p class="more">
                <a class="button" href={changed(location, { page: next })}>
                  Next holds
                </a>
              </p>
            )}
          </>
        )}
      </Shown>
    </Section>
  )
}

export const HoldsView = ({ account }: { readonly account: string }) => {
  const [prefix, before] = [useOption("prefix"), useOption("before")]
  return (
    <>
      <Title kind="Holds" title={account === "" ? "Open holds" : account} />
      <Filters label="Which holds" onSend={(fields) => navigate(links.holds(fields))}>
        <Field label="Account" name="account" value={account} placeholder="all" size={20} />
        {account === "" && (
          <>
            <Field
              label="or accounts that begin with"
              name="prefix"
              value={prefix}
              placeholder="merchant:"
              size={18}
            />
            <Field
              label="Expiring before"
              name="before"
              value={before}
              placeholder="2026-03-02T09:15Z"
              size={20}
            />
          </>
        )}
      </Filters>
      {account === "" ? <OfAll prefix={prefix} before={before} /> : <OfAccount account={account} />}
    </>
  )
}
