/** Open holds, the next to expire first. */
import { useNow } from "../asking.ts"
import { duration } from "../format.ts"
import { byExpiry } from "../holds.ts"
import { AccountLink, Amount, type Column, Empty, Table, Time, TransactionLink } from "../parts.tsx"
import type { Hold } from "../wire.ts"

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
  const left = (expiresAt: number) => {
    const ms = expiresAt - (at ?? now)
    return ms <= 0 ? "expired" : `in ${duration(ms)}`
  }
  const columns: ReadonlyArray<Column<Hold>> = [
    { head: "Hold", cell: ({ id }) => <TransactionLink id={id} /> },
    {
      head: "Expires",
      cell: ({ expiresAt }) =>
        expiresAt === undefined ? (
          <span class="muted">never</span>
        ) : (
          <>
            <Time at={expiresAt} /> <span class="muted">{left(expiresAt)}</span>
          </>
        )
    },
    {
      head: "To",
      cell: ({ to }) =>
        to === undefined ? <span class="muted">named at capture</span> : <AccountLink id={to} />
    },
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
