/** A transaction: all its legs with what they left behind, who asked for it, its trace, its hashes, and what it gives back or is given back by. */
import { printableJson } from "../../domain/Printable.ts"
import { type Answer, answered, apiPath, askAll, firstFault } from "../api.ts"
import { type Asked, useAsked, usePath } from "../asking.ts"
import { decimal, words } from "../format.ts"
import {
  AccountLink,
  Amount,
  Asking,
  Badge,
  type Column,
  Facts,
  Failure,
  Hash,
  Kind,
  Metadata,
  Section,
  Shown,
  Table,
  Text,
  Time,
  Title,
  TransactionLink,
  valueOf
} from "../parts.tsx"
import { type Posting, postingsOf, sumsOf } from "../postings.ts"
import type { Account, Leg, LoggedEvent, Transaction } from "../wire.ts"

export const TransactionView = ({ id }: { readonly id: string }) => {
  const asked = usePath<Transaction>(apiPath(["v1", "commands", id]))
  return (
    <>
      <Title kind="Transaction" title={id} />
      <Shown asked={asked} what="the transaction">
        {(transaction) => (
          <>
            <Links of={transaction} />
            <Origin of={transaction} />
            <Legs of={transaction} />
            <Chain legs={transaction.legs} />
            <Events legs={transaction.legs} />
          </>
        )}
      </Shown>
    </>
  )
}

const Links = ({ of: { reverses, reversals } }: { readonly of: Transaction }) =>
  reverses === undefined && reversals.length === 0 ? null : (
    <div class="links">
      {reverses !== undefined && (
        <p>
          <Badge tone="warn">reversal {reverses.n}</Badge> gives back{" "}
          <TransactionLink id={reverses.original} />
        </p>
      )}
      {reversals.length > 0 && (
        <p>
          <Badge tone="warn">reversed</Badge> by{" "}
          {reversals.map((reversal, index) => (
            <span key={reversal}>
              {index > 0 && ", "}
              <TransactionLink id={reversal} />
            </span>
          ))}
        </p>
      )}
    </div>
  )

const textIn = (event: Leg["event"], name: string): string | undefined => {
  const value: unknown = Reflect.get(event, name)
  return typeof value === "string" ? value : undefined
}

/** Of a reversal where it has a description besides; else the description is the reason. */
const reasonIn = (event: Leg["event"]): string | undefined =>
  textIn(event, "reason") ?? ("reverses" in event ? event.reverses?.reason : undefined)

const metadataIn = (event: Leg["event"]): Readonly<Record<string, string>> =>
  "metadata" in event && event.metadata !== undefined ? event.metadata : {}

/** Who asked for it, as the first leg's event has it: all of them have the same. */
const Origin = ({ of: { recordedAt, effectiveAt, legs } }: { readonly of: Transaction }) => {
  const [first] = legs
  const { account = "", version = 1 } = first ?? {}
  const asked = usePath<ReadonlyArray<LoggedEvent>>(
    apiPath(["v1", "accounts", account, "events"], { after: version - 1, limit: 1 })
  )
  const context = valueOf(asked.answer)?.[0]?.context
  const said = (text: string | undefined) => (text === undefined ? undefined : <Text>{text}</Text>)
  return (
    <Section title="Origin">
      <Facts
        of={[
          ["Recorded", <Time at={recordedAt} />],
          ["Effective", effectiveAt === recordedAt ? undefined : <Time at={effectiveAt} />],
          ["Description", said(first && textIn(first.event, "description"))],
          ["Reason", said(first && reasonIn(first.event))],
          [
            "Caller",
            said(context?.caller) ??
              (asked.answer === undefined ? (
                <Asking />
              ) : (
                <span class="muted">{asked.answer._tag === "Ok" ? "not told" : "not known"}</span>
              ))
          ],
          ["Correlation", said(context?.correlationId)],
          ["Causation", said(context?.causationId)],
          [
            "Trace",
            context?.traceparent === undefined ? undefined : (
              <code class="hash">
                <Text>{context.traceparent}</Text>
              </code>
            )
          ]
        ]}
      />
      {asked.answer?._tag === "Failed" && <Failure fault={asked.answer.fault} askAgain={asked.askAgain} />}
      {first !== undefined && Object.keys(metadataIn(first.event)).length > 0 && (
        <Metadata of={metadataIn(first.event)} />
      )}
    </Section>
  )
}

/** The accounts as the legs left them; one read of the log a leg. */
const useAfter = (legs: ReadonlyArray<Leg>) =>
  useAsked(legs.map(({ hash }) => hash).join(), async (signal) => ({
    _tag: "Ok",
    value: await askAll<Account>(
      legs.map(({ account, version }) => apiPath(["v1", "accounts", account], { version })),
      signal
    )
  }))

/** Why some of the answers about the legs are not there: what they would say is left out. */
const LegFailure = ({ asked }: { readonly asked: Asked<ReadonlyArray<Answer<unknown>>> }) => {
  const fault = firstFault(valueOf(asked.answer) ?? [])
  return fault === undefined ? null : <Failure fault={fault} askAgain={asked.askAgain} />
}

const legColumns = (after: ReadonlyArray<Account>): ReadonlyArray<Column<Posting>> => {
  const left = ({ account, version }: Posting) =>
    after.find((one) => one.account === account && one.version === version)
  return [
    { head: "Account", cell: ({ account }) => <AccountLink id={account} /> },
    {
      head: "Event",
      cell: ({ type }) =>
        type === "Contra" ? <span class="muted">outside the books</span> : <Kind type={type} />
    },
    { head: "Version", cell: ({ version }) => version ?? "", isNumber: true, isLabelled: true },
    {
      head: "Amount",
      cell: ({ amount, asset }) =>
        amount === 0n ? (
          <span class="muted">–</span>
        ) : asset === undefined ? (
          <span class="muted">not known</span>
        ) : (
          <Amount units={amount} asset={asset} isSigned />
        ),
      isNumber: true
    },
    {
      head: "Balance after",
      cell: (posting) => {
        const account = left(posting)
        return account === undefined ? "" : <Amount units={account.balance} asset={account.asset} />
      },
      isNumber: true,
      isLabelled: true
    }
  ]
}

const Legs = ({ of: { legs, isPartial } }: { readonly of: Transaction }) => {
  const asked = useAfter(legs)
  const after = answered(valueOf(asked.answer) ?? [])
  const assets = new Map(after.map(({ account, asset }) => [account, asset]))
  const postings = postingsOf(legs, (account) => assets.get(account))
  return (
    <Section
      title="Legs"
      aside={
        isPartial === true ? (
          <>others are on accounts that this token may not name</>
        ) : (
          <Sums of={postings} isAsking={asked.answer === undefined} />
        )
      }
    >
      <Table
        label="Legs"
        columns={legColumns(after)}
        rows={postings}
        keyOf={({ account, version, amount, asset }) => `${account} ${version} ${amount} ${asset}`}
      />
      <LegFailure asked={asked} />
    </Section>
  )
}

const Sums = ({ of, isAsking }: { readonly of: ReadonlyArray<Posting>; readonly isAsking: boolean }) => {
  const sums = sumsOf(of)
  if (sums === undefined) return isAsking ? <Asking>adding up …</Asking> : <>the sums are not known</>
  if (sums.length === 0) return <>moves no money</>
  return (
    <>
      {sums.map(({ asset, sum }) => (
        <Badge key={asset} tone={sum === 0n ? "good" : "bad"}>
          {asset} sums to {decimal(sum, asset)}
        </Badge>
      ))}
    </>
  )
}

const Previous = ({ hash, isAsking }: { readonly hash: string | undefined; readonly isAsking: boolean }) => {
  if (hash !== undefined) return <code class="hash">{hash}</code>
  return isAsking ? <Asking /> : <>one that is not known</>
}

/** Each leg's hash covers its event and the hash before it. */
const Chain = ({ legs }: { readonly legs: ReadonlyArray<Leg> }) => {
  const asked = useAsked(legs.map(({ hash }) => hash).join(), async (signal) => ({
    _tag: "Ok",
    value: await askAll<ReadonlyArray<LoggedEvent>>(
      legs.map(({ account, version }) =>
        apiPath(["v1", "accounts", account, "events"], { after: Math.max(0, version - 2), limit: 2 })
      ),
      signal
    )
  }))
  const before = valueOf(asked.answer)
  const previous = (index: number): string | undefined => {
    const answer = before?.[index]
    const leg = legs[index]
    return answer?._tag === "Ok"
      ? answer.value.find(({ version }) => version === (leg?.version ?? 0) - 1)?.hash
      : undefined
  }
  return (
    <Section title="Hash chain" aside="each hash covers its event and the hash before it">
      <ul class="chain">
        {legs.map(({ account, version, hash }, index) => (
          <li key={`${account} ${version}`}>
            <span>
              <AccountLink id={account} /> <span class="muted">version {version}</span>
            </span>
            <Hash of={hash} isWhole />
            <span class="muted">
              after{" "}
              {version === 1 ? (
                "nothing: its first event"
              ) : (
                <Previous hash={previous(index)} isAsking={before === undefined} />
              )}
            </span>
          </li>
        ))}
      </ul>
      <LegFailure asked={asked} />
    </Section>
  )
}

/** In lines, each of which has its hidden characters escaped as JSON escapes them. */
const json = (value: unknown): string =>
  JSON.stringify(value, null, 2).split("\n").map(printableJson).join("\n")

/** The events as the log has them, for what the views above do not show. */
const Events = ({ legs }: { readonly legs: ReadonlyArray<Leg> }) => (
  <Section title="Events">
    {legs.map(({ account, version, event }) => (
      <details key={`${account} ${version}`}>
        <summary>
          {words(event._tag)} on <Text>{account}</Text>
        </summary>
        <pre class="json">
          <bdi>{json(event)}</bdi>
        </pre>
      </details>
    ))}
  </Section>
)
