/** Open holds, the next to expire first. */
import { useNow } from "../asking.ts"
import { duration } from "../format.ts"
import { byExpiry } from "../holds.ts"
import { AccountLink, Amount, type Column, Empty, Table, Time, TransactionLink } from "../parts.tsx"
import type { Hold } from "../wire.ts"

type Expiring = Pick<Hold, "expiresAt" | "to">

/** When they expire, seen from `now`. */
export const expiresColumn = (now: number): Column<Expiring> => ({
  head: "Expires",
  cell: ({ expiresAt }) =>
    expiresAt === undefined ? (
      <span class="muted">never</span>
    ) : (
      <>
        <Time at={expiresAt} />{" "}
        <span class="muted">{expiresAt <= now ? "expired" : `in ${duration(expiresAt - now)}`}</span>
      </>
    )
})

/** Whom their money goes to. */
export const toColumn: Column<Expiring> = {
  head: "To",
  cell: ({ to }) => (to === undefined ? <span class="muted">named at capture</span> : <AccountLink id={to} />)
}

/** `at`: the instant as of which they are open; undefined for now. */
export const HoldsTable = ({
  holds,
  asset,
  at
}: {
  readonly holds: ReadonlyArray<Hold>
  readonly asset: string
  readonly at: number | undefined
}) => {
  const now = useNow(1_000)
  if (holds.length === 0) return <Empty>No hold is open.</Empty>
  const columns: ReadonlyArray<Column<Hold>> = [
    { head: "Hold", cell: ({ id }) => <TransactionLink id={id} /> },
    expiresColumn(at ?? now),
    toColumn,
    {
      head: "Placed",
      cell: ({ amount }) => <Amount units={amount} asset={asset} />,
      isNumber: true,
      isLabelled: true
    },
    {
      head: "Captured",
      cell: ({ captured }) => <Amount units={captured} asset={asset} />,
      isNumber: true,
      isLabelled: true
    },
    {
      head: "Remaining",
      cell: ({ remaining }) => <Amount units={remaining} asset={asset} />,
      isNumber: true,
      isLabelled: true
    }
  ]
  return (
    <Table label="Open holds by expiry" columns={columns} rows={byExpiry(holds)} keyOf={({ id }) => id} />
  )
}
