/** The books as a whole: the trial balance, what accounts of a prefix have together, drilled down segment by segment, and contra accounts. */
import { type Answer, apiPath, ask, askAll, mapAnswer } from "../api.ts"
import { useAsked, usePath } from "../asking.ts"
import { count } from "../format.ts"
import { navigate, useOption } from "../navigation.tsx"
import { nodeNow } from "../nodeClock.ts"
import {
  AccountLink,
  Amount,
  Badge,
  type Column,
  Empty,
  Field,
  Filters,
  Section,
  Shown,
  Table,
  Text,
  Time,
  Title
} from "../parts.tsx"
import { type Group, groupsOf, wayTo } from "../prefixes.ts"
import { changed, links } from "../route.ts"
import { accountsIn, groupParts, sumsIn } from "../sums.ts"
import type { Account, ContraBalance, Page, Sum, TrialBalance, TrialLine } from "../wire.ts"
import { ContrasTable } from "./ContrasTable.tsx"
import { TrialTable } from "./TrialTable.tsx"

/** Accounts that are looked at to find the groups of a prefix, and groups that are summed up. */
const accountsMax = 1_000
const groupsMax = 40

const Trial = ({ known }: { readonly known: string }) => {
  const path = apiPath(["v1", "trial-balance"], { knownAt: known })
  const asked = useAsked(path, async (signal) => {
    const answer = await ask<TrialBalance | ReadonlyArray<TrialLine>>(path, signal)
    return answer
  })
  return (
    <Section title="Trial balance">
      <Shown asked={asked} what="the trial balance">
        {(answer) => {
          const dated = "lines" in answer ? answer : undefined
          return (
            <>
              {dated !== undefined && (
                <p class="muted">
                  Of everything recorded by <Time at={dated.recordedAt} />, and nothing else.
                  {dated.parked > 0 && ` ${count(dated.parked)} accounts are parked and not all in it.`}
                </p>
              )}
              <TrialTable lines={"lines" in answer ? answer.lines : answer} />
            </>
          )
        }}
      </Shown>
    </Section>
  )
}

interface Sums {
  readonly whole: Sum
  /** Undefined where a sum is not known. */
  readonly groups: ReadonlyArray<{ readonly group: Group; readonly sums: Sum["sums"] | undefined }>
  /** There are more accounts, or more groups, than were looked at. */
  readonly isPart: boolean
}

const sumPath = (of: string, knownAt: string | number) => apiPath(["v1", "sums", of], { knownAt })

/** Nothing of an account that was not open yet; undefined where the answer does not tell. */
const sumsOf = (answer: Answer<Sum | Account> | undefined): Sum["sums"] | undefined => {
  if (answer?._tag === "Ok") return sumsIn(answer.value)
  return answer?.fault.status === 404 ? [] : undefined
}

/** All accounts together are in the trial balance, as of an instant. Where none is asked for, the node's own, as it tells of one prefix. */
const sumOfAll = async (
  known: string,
  first: string | undefined,
  signal: AbortSignal
): Promise<Answer<Sum>> => {
  const now = known === "" && first !== undefined ? await ask<Sum>(sumPath(first, ""), signal) : undefined
  if (now?._tag === "Failed") return now
  const knownAt = now?.value.knownAt ?? known
  if (knownAt === "") return { _tag: "Ok", value: { prefix: "", knownAt: nodeNow(), sums: [], parked: 0 } }
  return mapAnswer(
    await ask<TrialBalance>(apiPath(["v1", "trial-balance"], { knownAt: knownAt }), signal),
    ({ recordedAt, lines, parked }) => ({
      prefix: "",
      knownAt: recordedAt,
      sums: lines.map(({ asset, accounts }) => ({ asset, balance: accounts, accounts: 0 })),
      parked
    })
  )
}

/** The sum of a prefix, and the sums of the groups below it as of the very same instant. */
const loadSums = async (prefix: string, known: string, signal: AbortSignal): Promise<Answer<Sums>> => {
  const page = await ask<Page<Account>>(apiPath(["v1", "accounts"], { prefix, limit: accountsMax }), signal)
  if (page._tag === "Failed") return page
  const ids = page.value.rows.map(({ account }) => account)
  const groups = groupsOf(ids, prefix)
  const shown = groups.slice(0, groupsMax)
  const whole =
    prefix === ""
      ? await sumOfAll(known, shown[0]?.prefix, signal)
      : await ask<Sum>(sumPath(prefix, known), signal)
  if (whole._tag === "Failed") return whole
  const answers = await askAll<Sum | Account>(
    shown.map((one) => apiPath(groupParts(one), { knownAt: whole.value.knownAt })),
    signal
  )
  return {
    _tag: "Ok",
    value: {
      whole: whole.value,
      groups: shown.map((group, index) => ({ group, sums: sumsOf(answers[index]) })),
      isPart: typeof page.value.next === "string" || groups.length > shown.length
    }
  }
}

const Amounts = ({ of }: { readonly of: Sum["sums"] }) =>
  of.length === 0 ? (
    <span class="muted">nothing</span>
  ) : (
    <ul class="amounts">
      {of.map(({ asset, balance }) => (
        <li key={asset}>
          <Amount units={balance} asset={asset} />
        </li>
      ))}
    </ul>
  )

type Row = Sums["groups"][number]

const groupColumns = (known: string): ReadonlyArray<Column<Row>> => [
  {
    head: "Prefix",
    cell: ({ group }) =>
      group.isAccount ? (
        <AccountLink id={group.prefix} />
      ) : (
        <a class="id" href={links.books(group.prefix, { known })}>
          <Text>{`${group.prefix}…`}</Text>
        </a>
      )
  },
  {
    head: "Accounts",
    cell: ({ group, sums }) => (group.isAccount || sums === undefined ? "" : count(accountsIn(sums))),
    isNumber: true,
    isLabelled: true
  },
  {
    head: "Together",
    cell: ({ sums }) => (sums === undefined ? <span class="muted">not known</span> : <Amounts of={sums} />),
    isNumber: true
  }
]

const BySegment = ({ prefix, known }: { readonly prefix: string; readonly known: string }) => {
  const asked = useAsked(`${prefix} ${known}`, (signal) => loadSums(prefix, known, signal))
  const way = wayTo(prefix)
  return (
    <Section
      title="Sums by prefix"
      aside={
        <nav class="way" aria-label="Prefixes">
          {way.map((one, index) => (
            <span key={one}>
              {index > 0 && " › "}
              {one === prefix ? (
                <span aria-current="location">
                  <Text>{one === "" ? "all accounts" : one}</Text>
                </span>
              ) : (
                <a href={links.books(one, { known })}>
                  <Text>{one === "" ? "all accounts" : one}</Text>
                </a>
              )}
            </span>
          ))}
        </nav>
      }
    >
      <Shown asked={asked} what="the sums">
        {({ whole, groups, isPart }) => (
          <>
            <div class="whole">
              <Amounts of={whole.sums} />
              <p class="muted">
                of everything recorded by <Time at={whole.knownAt} />{" "}
                <a href={changed(location, { known: new Date(whole.knownAt).toISOString() })}>
                  keep this instant
                </a>
              </p>
              {whole.parked > 0 && (
                <Badge tone="warn">{`${count(whole.parked)} parked accounts are not all in it`}</Badge>
              )}
            </div>
            {groups.length === 0 ? (
              <Empty>No account begins so.</Empty>
            ) : (
              <Table
                label="Sums by prefix"
                columns={groupColumns(known)}
                rows={groups}
                keyOf={({ group }) => group.prefix}
              />
            )}
            {isPart && (
              <p class="muted">
                There are more: {count(accountsMax)} accounts and {count(groupsMax)} groups are looked at. The
                sums themselves are whole; a longer prefix shows the rest.
              </p>
            )}
          </>
        )}
      </Shown>
    </Section>
  )
}

/** Derived by the read model, as of now alone. */
const Contras = ({ only }: { readonly only: string }) => {
  const asked = usePath<ReadonlyArray<ContraBalance>>("/v1/contra-balances")
  return (
    <Section
      title="Contra accounts"
      aside={
        only === "" ? (
          "the world outside, as of now"
        ) : (
          <a href={changed(location, { contra: undefined })}>all of them</a>
        )
      }
    >
      <Shown asked={asked} what="the contra accounts">
        {(rows) => {
          const shown = rows.filter(({ contra }) => only === "" || contra === only)
          return shown.length === 0 ? (
            <Empty>{only === "" ? "No money came in yet." : "This contra account has no balance."}</Empty>
          ) : (
            <ContrasTable rows={shown} />
          )
        }}
      </Shown>
    </Section>
  )
}

export const BooksView = ({ prefix }: { readonly prefix: string }) => {
  const known = useOption("known")
  const contra = useOption("contra")
  // Each by its name and instant: money is not shown for a moment under another.
  return (
    <>
      <Title kind="Books" title={contra !== "" ? contra : prefix === "" ? "All accounts" : prefix} />
      <Filters
        label="Of what and when"
        onSend={(fields) => navigate(changed(location, { ...fields, contra: undefined }))}
      >
        <Field label="Prefix" name="prefix" value={prefix} placeholder="merchant:" size={20} />
        <Field label="As recorded by" name="known" value={known} placeholder="now" size={24} />
      </Filters>
      {contra === "" && <BySegment key={`${prefix} ${known}`} prefix={prefix} known={known} />}
      {contra === "" && prefix === "" && <Trial key={known} known={known} />}
      {prefix === "" && <Contras only={contra} />}
    </>
  )
}
