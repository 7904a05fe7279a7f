/** What there is under an id: an account, a transaction, a hold, a contra account, and the accounts that begin with it. */
import { useEffect } from "preact/hooks"
import { type Answer, apiPath, ask, type Fault } from "../api.ts"
import { useAsked } from "../asking.ts"
import { navigate } from "../navigation.tsx"
import { Empty, Failure, Kind, Section, Shown, Text, Time, Title, TransactionLink } from "../parts.tsx"
import { links } from "../route.ts"
import { candidatesOf, distinct, type Found, onlyOne, waysOf } from "../search.ts"
import type { Account, ContraBalance, Page, Transaction } from "../wire.ts"
import { AccountsTable } from "./AccountsTable.tsx"
import { ContrasTable } from "./ContrasTable.tsx"

const listed = 20

interface Answered extends Found {
  /** Why some of it is not known; what is not there is no fault. */
  readonly faults: ReadonlyArray<Fault>
}

const nothing = Promise.resolve(undefined)

const look = async (text: string, signal: AbortSignal): Promise<Answer<Answered>> => {
  const { account, command, contra, prefix } = candidatesOf(text)
  const [one, transaction, contras, page] = await Promise.all([
    account === undefined ? nothing : ask<Account>(apiPath(["v1", "accounts", account]), signal),
    command === undefined ? nothing : ask<Transaction>(apiPath(["v1", "commands", command]), signal),
    contra === undefined
      ? nothing
      : ask<ReadonlyArray<ContraBalance>>(apiPath(["v1", "contra-balances"]), signal),
    prefix === undefined
      ? nothing
      : ask<Page<Account>>(apiPath(["v1", "accounts"], { prefix, limit: listed }), signal)
  ])
  const faults = [one, transaction, contras, page].flatMap((answer) =>
    answer?._tag === "Failed" && answer.fault.status !== 404 ? [answer.fault] : []
  )
  return {
    _tag: "Ok",
    value: {
      account: one?._tag === "Ok" ? one.value : undefined,
      transaction: transaction?._tag === "Ok" ? transaction.value : undefined,
      contras:
        contras?._tag === "Ok" ? contras.value.filter((row) => row.contra.startsWith(contra ?? "")) : [],
      beginning: page?._tag === "Ok" ? page.value.rows.filter((row) => row.account !== text) : [],
      faults
    }
  }
}

const Nothing = ({ text }: { readonly text: string }) => (
  <Empty>
    Nothing is known under <Text>{text}</Text>: no account, transaction or hold has this id, and no account
    begins with it. What was recorded a moment ago may not be in the read model yet.
  </Empty>
)

const Results = ({
  found,
  text,
  askAgain
}: {
  readonly found: Answered
  readonly text: string
  readonly askAgain: () => void
}) => {
  const { account, transaction, beginning, contras, faults } = found
  const only = faults.length === 0 ? onlyOne(found) : undefined
  useEffect(() => {
    if (only !== undefined) navigate(only, { replace: true })
  }, [only])
  return (
    <>
      {distinct(faults).map((fault) => (
        <Failure key={`${fault.title} ${fault.detail}`} fault={fault} askAgain={askAgain} />
      ))}
      {waysOf(found).length === 0 && faults.length === 0 && <Nothing text={text} />}
      {account !== undefined && (
        <Section title="Account">
          <AccountsTable rows={[account]} />
        </Section>
      )}
      {transaction !== undefined && (
        <Section title="Transaction">
          <p>
            <TransactionLink id={transaction.commandId} />{" "}
            <Kind type={transaction.legs[0]?.event._tag ?? ""} />, recorded{" "}
            <Time at={transaction.recordedAt} />
          </p>
        </Section>
      )}
      {contras.length > 0 && (
        <Section title="Contra accounts that begin so" aside="the world outside, as of now">
          <ContrasTable rows={contras} />
        </Section>
      )}
      {beginning.length > 0 && (
        <Section title="Accounts that begin so" aside={<a href={links.books(text)}>with their sums</a>}>
          <AccountsTable rows={beginning} />
        </Section>
      )}
    </>
  )
}

export const SearchView = ({ text }: { readonly text: string }) => {
  const asked = useAsked(text, (signal) => look(text, signal))
  return (
    <>
      <Title kind="Search" title={text === "" ? "Search" : text} />
      {text === "" ? (
        <Empty>Type an id above: of an account, a transaction or a hold, or the beginning of one.</Empty>
      ) : (
        <Shown asked={asked} what="what there is">
          {(found) => <Results found={found} text={text} askAgain={asked.askAgain} />}
        </Shown>
      )}
    </>
  )
}
