/** The trial balance: what accounts have, against what came in from outside; the two come to zero in every asset (I2). */
import { Amount, Badge, type Column, Empty, Table } from "../parts.tsx"
import type { TrialLine } from "../wire.ts"

const columns: ReadonlyArray<Column<TrialLine>> = [
  { head: "Asset", cell: ({ asset }) => <code class="asset">{asset}</code> },
  {
    head: "Accounts",
    cell: ({ accounts, asset }) => <Amount units={accounts} asset={asset} />,
    isNumber: true,
    isLabelled: true
  },
  {
    head: "Outside",
    cell: ({ contras, asset }) => <Amount units={contras} asset={asset} />,
    isNumber: true,
    isLabelled: true
  },
  {
    head: "Total",
    cell: ({ total, asset }) => <Amount units={total} asset={asset} />,
    isNumber: true,
    isLabelled: true
  },
  {
    head: "Balanced",
    cell: ({ total }) =>
      total === "0" ? <Badge tone="good">zero</Badge> : <Badge tone="bad">not zero</Badge>
  }
]

export const TrialTable = ({ lines }: { readonly lines: ReadonlyArray<TrialLine> }) =>
  lines.length === 0 ? (
    <Empty>There is nothing in the books yet.</Empty>
  ) : (
    <Table label="Trial balance" columns={columns} rows={lines} keyOf={({ asset }) => asset} />
  )
