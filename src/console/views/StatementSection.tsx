/** The statement of an account: its lines in either order of time, filtered, page by page, with the balances at both ends. */
import type { EventType } from "../../domain/Event.ts"
import { type Answer, apiPath, ask, mapAnswer } from "../api.ts"
import { useAsked } from "../asking.ts"
import { shortened, words } from "../format.ts"
import { navigate, useRoute } from "../navigation.tsx"
import {
  AccountLink,
  Amount,
  Choice,
  type Column,
  Empty,
  Field,
  Filters,
  Kind,
  Section,
  Shown,
  Table,
  Text,
  Time,
  TransactionLink
} from "../parts.tsx"
import { changed } from "../route.ts"
import { lastOf, pageOf, pageRowsMax, type StatementPage, statementParameters } from "../statement.ts"
import type { Account, Line, LoggedEvent, Statement } from "../wire.ts"

/** What moves money or holds it back, and what changes the account. */
const types: ReadonlyArray<EventType> = [
  "AccountOpened",
  "Deposited",
  "Withdrawn",
  "TransferSent",
  "TransferReceived",
  "JournalPosted",
  "JournalLegPosted",
  "HoldPlaced",
  "HoldCaptured",
  "HoldAdjusted",
  "HoldReleased",
  "HoldExpired",
  "AccountUpdated",
  "AccountFrozen",
  "AccountUnfrozen",
  "AccountClosed"
]

const parts = ({ account }: Account) => ["v1", "accounts", account]

/** Pages of one instant at most: of a batch that recorded thousands of lines at once, some are at the end of it. */
const pagesMax = 10

/** The last lines: from the instant of the first of them on, at which there may be others before it. */
const loadLast = async (
  account: Account,
  page: StatementPage,
  after: number,
  signal: AbortSignal
): Promise<Answer<Statement>> => {
  const events = apiPath([...parts(account), "events"], { after, limit: 1 })
  const first = await ask<ReadonlyArray<LoggedEvent>>(events, signal)
  if (first._tag === "Failed") return first
  const from = first.value[0]?.recordedAt
  const lines: Array<Line> = []
  for (let cursor: string | undefined, pages = 1; ; pages++) {
    const asked = { ...statementParameters(page), from, cursor, limit: pageRowsMax }
    const answer = await ask<Statement>(apiPath([...parts(account), "statement"], asked), signal)
    if (answer._tag === "Failed") return answer
    lines.push(...answer.value.rows)
    cursor = answer.value.next ?? undefined
    if (cursor === undefined || pages === pagesMax)
      return mapAnswer(answer, (last) => lastOf(last, lines, after))
  }
}

const load = (account: Account, page: StatementPage, signal: AbortSignal): Promise<Answer<Statement>> =>
  page.lastFrom === undefined
    ? ask<Statement>(apiPath([...parts(account), "statement"], statementParameters(page)), signal)
    : loadLast(account, page, page.lastFrom, signal)

const columnsOf = (asset: string, isDated: boolean): ReadonlyArray<Column<Line>> => [
  {
    head: "Version",
    cell: ({ version }) => <span class="muted">{version}</span>,
    isNumber: true,
    isLabelled: true
  },
  { head: "Recorded", cell: ({ recordedAt }) => <Time at={recordedAt} /> },
  ...(isDated
    ? [
        {
          head: "Effective",
          cell: ({ effectiveAt, recordedAt }: Line) =>
            effectiveAt === recordedAt ? "" : <Time at={effectiveAt} />
        }
      ]
    : []),
  {
    head: "What",
    cell: (line) => (
      <>
        <Kind type={line.type} />
        {line.counterparty !== null && (
          <>
            {" "}
            <AccountLink id={line.counterparty} />
          </>
        )}
        {line.description !== null && (
          <span class="note">
            <Text>{line.description}</Text>
          </span>
        )}
      </>
    )
  },
  {
    head: "Transaction",
    cell: ({ commandId }) => <TransactionLink id={commandId} label={shortened(commandId, 16)} />
  },
  {
    head: "Amount",
    cell: ({ amount }) =>
      amount === "0" ? (
        <span class="muted">–</span>
      ) : (
        <Amount units={amount} asset={asset} isSigned isWithCode={false} />
      ),
    isNumber: true
  },
  {
    head: "Balance",
    cell: ({ balance }) => <Amount units={balance} asset={asset} isWithCode={false} />,
    isNumber: true,
    isLabelled: true
  }
]

const Bounds = ({
  statement: { opening, closing },
  asset
}: {
  readonly statement: Statement
  readonly asset: string
}) => (
  <dl class="bounds">
    {(
      [
        ["Opening balance", opening],
        ["Closing balance", closing]
      ] as const
    ).map(([name, units]) =>
      units === undefined ? null : (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            <Amount units={units} asset={asset} />
          </dd>
        </div>
      )
    )}
  </dl>
)

const Lines = ({ statement, account }: { readonly statement: Statement; readonly account: Account }) => {
  const { rows, next } = statement
  const isDated = rows.some(({ recordedAt, effectiveAt }) => recordedAt !== effectiveAt)
  return (
    <>
      <Bounds statement={statement} asset={account.asset} />
      {rows.length === 0 ? (
        <Empty>No line is like this.</Empty>
      ) : (
        <Table
          label="Statement"
          columns={columnsOf(account.asset, isDated)}
          rows={rows}
          keyOf={({ version }) => String(version)}
        />
      )}
      {typeof next === "string" && (
        <p class="more">
          <a class="button" href={changed(location, { page: next })}>
            Next lines
          </a>
        </p>
      )}
    </>
  )
}

export const StatementSection = ({ account }: { readonly account: Account }) => {
  const { options } = useRoute()
  const page = pageOf(options, account.version)
  const asked = useAsked(JSON.stringify([account.account, page]), (signal) => load(account, page, signal))
  const value = (name: string) => options.get(name) ?? ""
  return (
    <Section
      title="Statement"
      aside={
        page.lastFrom === undefined ? undefined : (
          <>
            the last lines · <a href={changed(location, { from: "1970-01-01" })}>from the first</a>
          </>
        )
      }
    >
      <Filters
        label="Lines to show"
        onSend={(fields) => navigate(changed(location, { ...fields, page: undefined }))}
      >
        <Field label="From" name="from" value={value("from")} placeholder="2026-03-02" size={12} />
        <Field label="Before" name="to" value={value("to")} placeholder="2026-03-02T09:15Z" size={16} />
        <Choice
          label="Order"
          name="axis"
          value={value("axis")}
          of={[
            ["", "recorded"],
            ["effective", "effective"]
          ]}
        />
        <Choice
          label="Type"
          name="types"
          value={value("types")}
          of={[["", "all"], ...types.map((one) => [one, words(one)] as const)]}
        />
        <Field
          label="Counterparty"
          name="counterparty"
          value={value("counterparty")}
          placeholder="id"
          size={16}
        />
      </Filters>
      {value("known") !== "" && page.axis === "effective" && (
        <p class="muted">In effective order these are the lines of now, those recorded later among them.</p>
      )}
      <Shown asked={asked} what="the statement">
        {(statement) => <Lines statement={statement} account={account} />}
      </Shown>
    </Section>
  )
}
