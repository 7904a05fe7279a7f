/** Makes a command of the fields of one line of a bank's day, or names the field at fault. */
import { Result } from "effect"
import { type Command, fromHost } from "../domain/Command.ts"
import type { InvalidCommand } from "../domain/Errors.ts"
import { trimBlanks } from "../domain/Money.ts"
import {
  type Column,
  columns,
  type Fault,
  type FaultReason,
  faulty,
  toAsset,
  toInstant,
  toLegs,
  toUnits
} from "./DayFields.ts"
import type { DayRecord } from "./DayLines.ts"

/** Which columns a kind needs, and which it may have beyond `time` and `note`. */
const kinds: ReadonlyMap<string, readonly [needs: ReadonlyArray<Column>, may: ReadonlyArray<Column>]> =
  new Map([
    ["open", [["account", "asset", "owner"], ["overdraft"]]],
    ["deposit", [["account", "asset", "amount"], ["counterparty"]]],
    ["withdraw", [["account", "asset", "amount"], ["counterparty"]]],
    ["transfer", [["account", "counterparty", "asset", "amount"], []]],
    ["journal", [["legs"], ["asset"]]],
    ["freeze", [["account"], []]],
    ["unfreeze", [["account"], []]],
    ["close", [["account"], []]]
  ])

const texts: ReadonlySet<Column | undefined> = new Set<Column>(["owner", "note"])

type Row = { readonly [Name in Column]: string }

/** Reads one line. */
export const toCommand = (record: DayRecord): Result.Result<Command, Fault> =>
  Result.gen(function* () {
    const row = yield* toRow(record)
    const input = yield* toInput(row)
    return yield* Result.mapError(fromHost(input), (error) => toFault(error, row))
  })

/** Names the fields, and sees that those and only those that the kind speaks of are filled. */
const toRow = ({ text, fields }: DayRecord): Result.Result<Row, Fault> => {
  if (Result.isFailure(fields)) return faulty(undefined, "malformed", text, fields.failure)
  if (fields.success.length !== columns.length) {
    const found = fields.success.length
    const detail = `it has ${found === 1 ? "one field" : `${found} fields`}, the header has ${columns.length}`
    return faulty(undefined, "malformed", text, detail)
  }
  const values = fields.success.map((field, index) => {
    const trimmed = trimBlanks(field)
    // The blanks of a text are part of it, unless there is nothing else.
    return trimmed !== "" && texts.has(columns[index]) ? field : trimmed
  })
  // every column has its field: their numbers are equal
  const row = Object.fromEntries(columns.map((column, index) => [column, values[index]])) as Row
  const kind = kinds.get(row.kind)
  if (kind === undefined) return faulty("kind", "unknown kind", row.kind)
  const needs: ReadonlyArray<Column> = ["command_id", "kind", ...kind[0]]
  const may: ReadonlyArray<Column> = ["time", "note", ...kind[1]]
  for (const column of columns) {
    if (needs.includes(column)) {
      if (row[column] === "") return faulty(column, "missing", text)
    } else if (!may.includes(column) && row[column] !== "") {
      return faulty(column, "not for this kind", row[column])
    }
  }
  return Result.succeed(row)
}

/** The command as plain values, not checked yet: ids and texts are judged by the schema of commands. */
const toInput = (row: Row): Result.Result<object, Fault> =>
  Result.gen(function* () {
    const effectiveAt = yield* optional(row.time, toInstant)
    const common = { commandId: row.command_id, ...(effectiveAt === undefined ? {} : { effectiveAt }) }
    const description = row.note === "" ? {} : { description: row.note }
    const { account, counterparty } = row
    switch (row.kind) {
      case "open": {
        const asset = yield* toAsset(row.asset)
        const overdraftLimit = yield* optional(row.overdraft, (text) => toUnits("overdraft", text, asset))
        if (overdraftLimit !== undefined && overdraftLimit < 0n)
          return yield* faulty("overdraft", "negative", row.overdraft)
        return {
          _tag: "OpenAccount",
          ...common,
          account,
          asset,
          owner: row.owner,
          ...(overdraftLimit === undefined ? {} : { overdraftLimit }),
          ...(row.note === "" ? {} : { metadata: { note: row.note } })
        }
      }
      case "deposit":
      case "withdraw":
      case "transfer": {
        const asset = yield* toAsset(row.asset)
        const amount = yield* toUnits("amount", row.amount, asset)
        if (amount <= 0n) return yield* faulty("amount", "not positive", row.amount)
        const movement = { ...common, amount, asset, ...description }
        if (row.kind === "transfer") {
          if (account === counterparty) return yield* faulty("counterparty", "same account", counterparty)
          return { _tag: "Transfer", ...movement, from: account, to: counterparty }
        }
        const contra = counterparty === "" ? {} : { contra: counterparty }
        return { _tag: row.kind === "deposit" ? "Deposit" : "Withdraw", ...movement, account, ...contra }
      }
      case "journal": {
        const asset = yield* optional(row.asset, toAsset)
        return { _tag: "PostJournal", ...common, legs: yield* toLegs(row.legs, asset), ...description }
      }
      default: {
        const tags = { freeze: "FreezeAccount", unfreeze: "UnfreezeAccount", close: "CloseAccount" } as const
        const _tag = tags[row.kind as keyof typeof tags] // the kinds that remain of those in `kinds`
        return { _tag, ...common, account, ...(row.note === "" ? {} : { reason: row.note }) }
      }
    }
  })

/** An empty field is an absent value. */
const optional = <A>(
  text: string,
  read: (text: string) => Result.Result<A, Fault>
): Result.Result<A | undefined, Fault> => (text === "" ? Result.succeed(undefined) : read(text))

/** Where each field of a command stands in the file, and what it means that the schema refuses it. */
const places: { readonly [Field in string]?: readonly [Column, FaultReason] } = {
  commandId: ["command_id", "bad id"],
  account: ["account", "bad id"],
  from: ["account", "bad id"],
  to: ["counterparty", "bad id"],
  contra: ["counterparty", "bad id"],
  legs: ["legs", "bad id"],
  effectiveAt: ["time", "bad time"],
  owner: ["owner", "bad text"],
  description: ["note", "bad text"],
  reason: ["note", "bad text"],
  metadata: ["note", "bad text"]
}

const toFault = ({ faults }: InvalidCommand, row: Row): Fault => {
  const [first] = faults
  const detail = first?.message ?? "refused without a reason"
  const place = places[first?.path[0] ?? ""]
  if (place === undefined)
    return { column: undefined, reason: "malformed", text: Object.values(row).join(), detail }
  const [column, reason] = place
  return { column, reason, text: row[column], detail }
}
