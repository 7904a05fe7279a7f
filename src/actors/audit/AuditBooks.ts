/** The rows of the frozen read model against what the log says they must be (I8). */
import { Effect, Result } from "effect"
import {
  type ContraEntry,
  type OpenedHead,
  type StatementLine,
  type TransferRow,
  transferMadeBy
} from "../../domain/Books.ts"
import type { CommandId } from "../../domain/Ids.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { FrozenBooks } from "../../infra/readmodel/ReadModelFrozen.ts"
import { type BalanceRow, balanceRowOf } from "../../infra/readmodel/ReadModelRows.ts"
import { difference, type Findings } from "./AuditFindings.ts"
import type { AuditLimits, Entry } from "./AuditRun.ts"

const where = "read model" as const
const invariant = "I8" as const

export const checkBalance = (findings: Findings, head: OpenedHead, row: BalanceRow): void => {
  const fault = difference(balanceRowOf(head), row)
  if (fault === undefined) return
  const { account, version } = row
  const reason = `balance row: ${fault.reason}`
  findings.add({ invariant, where, account, version, column: fault.column, reason })
}

export const checkLine = (findings: Findings, expected: Entry | undefined, line: StatementLine): void => {
  const { account, version } = line
  const broken = (reason: string, column?: string) =>
    findings.add({
      invariant,
      where,
      account,
      version,
      ...(column === undefined ? {} : { column }),
      reason: `statement line: ${reason}`
    })
  if (expected === undefined) return broken("the log has no such event")
  expected.lineSeen = true
  if (version > expected.projected) return broken(`the balance row is at version ${expected.projected} only`)
  if (expected.posted === undefined) return
  const fault = difference(expected.posted.line, line)
  if (fault !== undefined) broken(fault.reason, fault.column)
}

/** Reports lines that are missing, and transfers that are missing or differ. Answers how many transfers are there. */
export const checkPresent = Effect.fnUntraced(function* (
  findings: Findings,
  books: FrozenBooks,
  entries: Iterable<Entry>,
  limits: AuditLimits
) {
  const wanted = new Map<CommandId, TransferRow>()
  for (const { posted, projected, lineSeen } of entries) {
    if (posted === undefined || posted.line.version > projected) continue
    const { account, version } = posted.line
    if (!lineSeen)
      findings.add({ invariant, where, account, version, reason: "its statement line is missing" })
    if (posted.transfer !== undefined) wanted.set(posted.transfer.id, posted.transfer)
  }
  const ids = [...wanted.keys()]
  const found = new Map<CommandId, TransferRow>()
  for (let start = 0; start < ids.length; start += limits.lookUpKeys) {
    for (const row of yield* books.transfersOf(ids.slice(start, start + limits.lookUpKeys)))
      found.set(row.id, row)
  }
  for (const [id, transfer] of wanted) {
    const row = found.get(id)
    const fault = row === undefined ? { column: "id", reason: "it is missing" } : difference(transfer, row)
    if (fault === undefined) continue
    findings.add({
      invariant,
      where,
      account: transfer.from,
      version: transfer.fromVersion,
      column: fault.column,
      reason: `transfer ${id}: ${fault.reason}`
    })
  }
  return found.size
})

/** Reports transfers that no event of the log made. Needed only where the read model has more of them than were met. */
export const checkTransfers = Effect.fnUntraced(function* (
  findings: Findings,
  books: FrozenBooks,
  store: EventStore["Service"],
  limits: AuditLimits
) {
  let after = ""
  for (;;) {
    const rows = yield* books.transfers({ after, limit: limits.lookUpKeys })
    const versions = yield* books.versions([...new Set(rows.map((row) => row.from))])
    const events = yield* store.readEvents(
      rows.map((row) => ({ account: row.from, version: row.fromVersion }))
    )
    const made = new Set(
      events.flatMap((row) => transfersOf(row).map((id) => `${id} ${row.accountId}@${row.version}`))
    )
    for (const row of rows) {
      const { id, from: account, fromVersion: version } = row
      const isMade = made.has(`${id} ${account}@${version}`)
      if (isMade && version <= (versions.get(account) ?? 0)) continue
      const reason = isMade
        ? `transfer ${id}: the balance row of its sender is below its version`
        : `transfer ${id}: the log has no such event`
      findings.add({ invariant, where, account, version, reason })
    }
    const last = rows.at(-1)
    if (rows.length < limits.lookUpKeys || last === undefined) return
    after = last.id
  }
})

/** The id of the transfer that a row of the log makes. One that cannot be read is a finding of its own, and may have made either. */
const transfersOf = (row: StoredEvent): ReadonlyArray<string> =>
  Result.match(decodeStored(row), {
    onFailure: () => [row.commandId, `${row.commandId}~${row.ordinal}`],
    onSuccess: (event) => {
      const id = transferMadeBy(row, event)
      return id === undefined ? [] : [id]
    }
  })

/** Reports sums of declared prefixes that are not what the balance rows of their accounts come to. */
export const checkPrefixSums = Effect.fnUntraced(function* (findings: Findings, books: FrozenBooks) {
  for (const { prefix, asset, balance, accounts } of yield* books.lackOfSums) {
    const reason = `sum of ${prefix}: it lacks ${balance} minor units of ${asset} of ${accounts} accounts`
    findings.add({ invariant, where, account: prefix, column: asset, reason })
  }
})

/** The balances of contras by the log, from the events that the read model has projected. */
export interface ContraSums {
  readonly add: (entry: ContraEntry) => void
  /** False once an event was met that cannot be folded: the sums say nothing then. */
  isKnown: boolean
  /** Compares the sums with all rows of the read model. To be called once: it subtracts the rows from them. */
  readonly check: (findings: Findings, books: FrozenBooks) => Effect.Effect<void, StoreUnavailable>
}

/** Keeps a sum for each of the first `contras`; all others share one sum an asset (I10). */
export const makeContraSums = ({ contras, lookUpKeys }: AuditLimits): ContraSums => {
  const rests = new Map<string, bigint>()
  const add = (contra: string, asset: string, amount: bigint): void => {
    const own = `${contra} ${asset}`
    const key = rests.has(own) || rests.size < contras ? own : `others ${asset}`
    rests.set(key, (rests.get(key) ?? 0n) + amount)
  }
  const sums: ContraSums = {
    add: ({ contra, asset, amount }) => add(contra, asset, amount),
    isKnown: true,
    check: Effect.fnUntraced(function* (findings, books) {
      if (!sums.isKnown) return
      let after = { contra: "", asset: "" }
      for (;;) {
        const rows = yield* books.contras({ after, limit: lookUpKeys })
        for (const { contra: account, asset, balance } of rows) {
          if (typeof balance === "bigint") add(account, asset, -balance)
          else
            findings.add({
              invariant,
              where,
              account,
              column: "balance",
              reason: `contra: ${balance} of ${asset}`
            })
        }
        const last = rows.at(-1)
        if (rows.length < lookUpKeys || last === undefined) break
        after = last
      }
      for (const [key, rest] of rests) {
        if (rest === 0n) continue
        const [account = "", asset = ""] = key.split(" ")
        const reason = `contra: its balance is ${-rest} minor units of ${asset} off the log`
        findings.add({ invariant, where, account, column: "balance", reason })
      }
    })
  }
  return sums
}
