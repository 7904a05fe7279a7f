/** Accounts, one a row. */
import { AccountLink, Amount, Badge, type Column, statusTone, Table, Text } from "../parts.tsx"
import type { Account } from "../wire.ts"

const columns: ReadonlyArray<Column<Account>> = [
  { head: "Account", cell: ({ account }) => <AccountLink id={account} /> },
  { head: "Owner", cell: ({ owner }) => <Text>{owner}</Text> },
  { head: "Status", cell: ({ status }) => <Badge tone={statusTone(status)}>{status}</Badge> },
  { head: "Balance", cell: ({ balance, asset }) => <Amount units={balance} asset={asset} />, isNumber: true },
  {
    head: "Available",
    cell: ({ available, asset }) => <Amount units={available} asset={asset} />,
    isNumber: true,
    isLabelled: true
  }
]

export const AccountsTable = ({ rows }: { readonly rows: ReadonlyArray<Account> }) => (
  <Table label="Accounts" columns={columns} rows={rows} keyOf={({ account }) => account} />
)
