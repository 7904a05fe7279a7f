/** Contra accounts, one a row and asset. */
import { AccountLink, Amount, type Column, Table } from "../parts.tsx"
import type { ContraBalance } from "../wire.ts"

const columns: ReadonlyArray<Column<ContraBalance>> = [
  { head: "Contra account", cell: ({ contra }) => <AccountLink id={contra} /> },
  { head: "Balance", cell: ({ balance, asset }) => <Amount units={balance} asset={asset} />, isNumber: true }
]

export const ContrasTable = ({ rows }: { readonly rows: ReadonlyArray<ContraBalance> }) => (
  <Table
    label="Contra accounts"
    columns={columns}
    rows={rows}
    keyOf={({ contra, asset }) => `${contra} ${asset}`}
  />
)
