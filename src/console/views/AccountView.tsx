/** An account: what it has, as of now or of any recorded instant, its timeline, its open holds and its statement. */
import type { ComponentChildren } from "preact"
import { useMemo, useState } from "preact/hooks"
import { apiPath, ask } from "../api.ts"
import { type Asked, useAsked, usePath } from "../asking.ts"
import { count, decimal, instant, isoInstant, parsedInstant } from "../format.ts"
import { navigate, useOption } from "../navigation.tsx"
import { Plot } from "../Plot.tsx"
import {
  Amount,
  Badge,
  Facts,
  Failure,
  Hash,
  Kept,
  Loading,
  Metadata,
  Section,
  Shown,
  statusTone,
  Text,
  Time,
  Title,
  valueOf
} from "../parts.tsx"
import { changed } from "../route.ts"
import { TimeAxis } from "../TimeAxis.tsx"
import { type Axis, loadTimeline, type Timeline } from "../timeline.ts"
import type { Account, LoggedEvent } from "../wire.ts"
import { HoldsTable } from "./HoldsTable.tsx"
import { StatementSection } from "./StatementSection.tsx"

export const AccountView = ({ id }: { readonly id: string }) => {
  const known = useOption("known")
  const parts = ["v1", "accounts", id]
  const now = usePath<Account>(apiPath(parts))
  const past = useAsked(`${id} ${known}`, (signal) =>
    known === "" ? Promise.resolve(undefinedAnswer) : ask<Account>(apiPath(parts, { knownAt: known }), signal)
  )
  const opening = usePath<ReadonlyArray<LoggedEvent>>(apiPath([...parts, "events"], { limit: 1 }))
  const head = valueOf(now.answer)
  return (
    <>
      <Title kind="Account" title={id}>
        {head !== undefined && <Badge tone={statusTone(head.status)}>{statusOf(head)}</Badge>}
      </Title>
      <Shown asked={now} what="the account">
        {(account) => (
          <>
            <Balances now={account} past={past} known={known} />
            <TimelineSection account={account} opening={opening} known={known} />
            <AsOf
              account={known === "" ? account : valueOf(past.answer)}
              isStale={known !== "" && past.isStale}
            >
              {(shown) => (
                <>
                  <Details account={shown} opened={valueOf(opening.answer)?.[0]} />
                  <HoldsSection account={shown} known={known} />
                  <StatementSection account={shown} />
                </>
              )}
            </AsOf>
          </>
        )}
      </Shown>
    </>
  )
}

/** What follows from the account as it is asked for; nothing while that is not known, for the present would be taken for the past. */
const AsOf = ({
  account,
  isStale,
  children
}: {
  readonly account: Account | undefined
  readonly isStale: boolean
  readonly children: (account: Account) => ComponentChildren
}) => (account === undefined ? null : <Kept isStale={isStale}>{children(account)}</Kept>)

const undefinedAnswer = { _tag: "Ok", value: undefined } as const

const statusOf = ({ status, frozen }: Account): string =>
  frozen === undefined || frozen === "both" ? status : `${status} for ${frozen}`

/** The three figures of the account, as of now or of the instant that is asked for. */
const Balances = ({
  now,
  past,
  known
}: {
  readonly now: Account
  readonly past: Asked<Account | undefined>
  readonly known: string
}) => {
  const isStale = known !== "" && past.isStale
  if (known !== "" && past.answer?._tag === "Failed")
    return (
      <Kept isStale={isStale}>
        <Failure fault={past.answer.fault} askAgain={past.askAgain} />
      </Kept>
    )
  const account = known === "" ? now : valueOf(past.answer)
  if (account === undefined) return <Loading what="the account as it was" />
  const { asset, balance, held = "0", available } = account
  return (
    <dl class={isStale ? "figures busy" : "figures"} aria-busy={isStale} aria-live="polite">
      {(
        [
          ["Balance", balance],
          ["Held", held],
          ["Available", available]
        ] as const
      ).map(([name, units]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd class={name === "Balance" ? "first" : ""}>
            <Amount units={units} asset={asset} />
          </dd>
        </div>
      ))}
      <div class="as-of">
        <dt>{known === "" ? "As of now" : "As it was"}</dt>
        <dd class="said">
          version {count(account.version)}, recorded <Time at={account.recordedAt} />
        </dd>
      </div>
    </dl>
  )
}

const Details = ({
  account,
  opened
}: {
  readonly account: Account
  readonly opened: LoggedEvent | undefined
}) => (
  <Section title="Details">
    <Facts
      of={[
        ["Owner", <Text>{account.owner}</Text>],
        ["Asset", <code>{account.asset}</code>],
        ["Overdraft limit", <Amount units={account.overdraftLimit} asset={account.asset} />],
        ["Opened", opened === undefined ? undefined : <Time at={opened.recordedAt} />],
        [
          "Opened by",
          opened?.context?.caller === undefined ? undefined : <Text>{opened.context.caller}</Text>
        ],
        ["Version", count(account.version)],
        ["Hash of that version", <Hash of={account.hash} isWhole />]
      ]}
    />
    {Object.keys(account.metadata).length > 0 && <Metadata of={account.metadata} />}
  </Section>
)

const axisOf = (text: string): Axis => (text === "effective" ? "effective" : "recorded")

const TimelineSection = ({
  account,
  opening,
  known
}: {
  readonly account: Account
  readonly opening: Asked<ReadonlyArray<LoggedEvent>>
  readonly known: string
}) => {
  const axis = axisOf(useOption("axis"))
  const opened = valueOf(opening.answer)?.[0]
  const { account: id, version } = account
  const timeline = useAsked(`${id} ${version} ${axis}`, (signal) => loadTimeline(id, version, axis, signal))
  const at = known === "" ? Number.NaN : parsedInstant(known)
  const rest = (instantKnown: number | undefined) =>
    navigate(
      changed(location, {
        known: instantKnown === undefined ? undefined : isoInstant(instantKnown),
        page: undefined
      }),
      { replace: known !== "" }
    )
  return (
    <Section title="Timeline" aside={`balance by ${axis} time, UTC`}>
      <Shown asked={timeline} what="the timeline">
        {(shown) => (
          <Course timeline={shown} asset={account.asset} mark={axis === "recorded" ? at : Number.NaN} />
        )}
      </Shown>
      {opening.answer?._tag === "Failed" && (
        <Failure fault={opening.answer.fault} askAgain={opening.askAgain} />
      )}
      {opened !== undefined && (
        <div class="axes">
          <TimeAxis
            label="As recorded by"
            from={opened.recordedAt}
            to={account.recordedAt}
            at={Number.isNaN(at) ? undefined : at}
            onRest={rest}
          />
        </div>
      )}
    </Section>
  )
}

const Course = ({
  timeline: { points, every, firstLines },
  asset,
  mark
}: {
  readonly timeline: Timeline
  readonly asset: string
  readonly mark: number
}) => {
  const [hovered, setHovered] = useState<number>()
  const series = useMemo(
    () => ({
      x: points.map(({ at }) => at),
      // For the eye alone: a pixel is coarser than what floating point loses.
      y: points.map(({ balance }) => Number(balance) / 10 ** Number(asset.split("/")[1] ?? 0))
    }),
    [points, asset]
  )
  const point = hovered === undefined ? points.at(-1) : points[hovered]
  return (
    <>
      <Plot
        series={series}
        label="Balance over time"
        marks={Number.isNaN(mark) ? [] : [mark]}
        onHover={(index) => setHovered(index)}
      />
      <p class="readout">
        {point !== undefined && `${instant(point.at)}  ${decimal(point.balance, asset)}`}
        {every > 1 && ` · one version in ${count(every)}`}
        {firstLines !== undefined && ` · the first ${count(firstLines)} lines alone`}
      </p>
    </>
  )
}

const HoldsSection = ({ account, known }: { readonly account: Account; readonly known: string }) => (
  <Section title="Open holds" aside="by expiry">
    <HoldsTable
      holds={account.holds ?? []}
      asset={account.asset}
      at={known === "" ? undefined : parsedInstant(known)}
    />
  </Section>
)
