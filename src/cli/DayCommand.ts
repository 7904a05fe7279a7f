/** Makes a command, or an assertion, of the fields of one line of a bank's day, or names the field at fault. */
import { Data, Result, Schema } from "effect"
import { type AskedCommand, fromHost } from "../domain/Command.ts"
import type { InvalidCommand } from "../domain/Errors.ts"
import { AccountId } from "../domain/Ids.ts"
import { type Asset, trimBlanks } from "../domain/Money.ts"
import {
  allColumns,
  type Column,
  type Fault,
  type FaultReason,
  faulty,
  toAsset,
  toExchanges,
  toExpiry,
  toInstant,
  toLegs,
  toMetadata,
  toNumber,
  toReversalLegs,
  toSum,
  toUnits,
  toYes
} from "./DayFields.ts"
import type { DayRecord } from "./DayLines.ts"

/** What the file says that the books come to, at its place among the lines. */
export interface Assertion {
  /** The account, or the beginning of the ids of all accounts that are summed up. */
  readonly of: { readonly account: AccountId } | { readonly prefix: string }
  readonly asset: Asset
  /** Minor units. */
  readonly expected: bigint
}

/** What a line says. `Skipped` moves nothing: its amount is zero. */
type LineContent = Data.TaggedEnum<{
  Command: { readonly command: AskedCommand }
  /** One of the commands that are done together or not at all; it has the id of its group. */
  Member: { readonly command: AskedCommand }
  Assertion: { readonly assertion: Assertion }
  /** `group` is empty where the line is of none. */
  Skipped: { readonly group: string }
}>
const LineContent = Data.taggedEnum<LineContent>()

/** Which columns a kind needs beyond its `command_id`, and which it may have beyond `time` and `note`. */
const kinds: ReadonlyMap<string, readonly [needs: ReadonlyArray<Column>, may: ReadonlyArray<Column>]> =
  new Map([
    [
      "open",
      [
        ["account", "asset", "owner"],
        ["overdraft", "metadata"]
      ]
    ],
    ["update", [["account"], ["asset", "owner", "overdraft", "metadata"]]],
    [
      "deposit",
      [
        ["account", "asset", "amount"],
        ["counterparty", "metadata"]
      ]
    ],
    [
      "withdraw",
      [
        ["account", "asset", "amount"],
        ["counterparty", "metadata"]
      ]
    ],
    ["transfer", [["account", "counterparty", "asset", "amount"], ["metadata"]]],
    ["journal", [["legs"], ["asset", "fx", "metadata"]]],
    [
      "hold",
      [
        ["account", "asset", "amount"],
        ["counterparty", "expires", "metadata"]
      ]
    ],
    [
      "capture",
      [
        ["account", "hold"],
        ["counterparty", "asset", "amount", "final", "excess", "metadata"]
      ]
    ],
    [
      "adjust",
      [
        ["account", "hold"],
        ["asset", "amount", "expires", "metadata"]
      ]
    ],
    [
      "release",
      [
        ["account", "hold"],
        ["asset", "amount", "metadata"]
      ]
    ],
    [
      "reverse",
      [
        ["original", "note"],
        ["asset", "amount", "legs", "n", "shortfall", "metadata"]
      ]
    ],
    ["freeze", [["account"], ["side"]]],
    ["unfreeze", [["account"], ["side"]]],
    ["close", [["account"], []]],
    ["assert", [["account", "asset", "amount"], []]]
  ])

/** Of these an amount of zero is no fault: nothing is done. */
const movements: ReadonlySet<string> = new Set(["deposit", "withdraw", "transfer"])

const texts: ReadonlySet<Column | undefined> = new Set<Column>(["owner", "note"])

type Row = { readonly [Name in Column]: string }

/** Reads one line. */
export const toContent = (
  record: DayRecord,
  header: ReadonlyArray<Column>
): Result.Result<LineContent, Fault> =>
  Result.gen(function* () {
    const group = groupOf(record, header)
    const content = Result.flatMap(toRow(record, header), toRowContent)
    return yield* Result.mapError(content, (fault) => (group === undefined ? fault : { ...fault, group }))
  })

/** Undefined where the line cannot be read; empty where it is of none. */
const groupOf = ({ fields }: DayRecord, header: ReadonlyArray<Column>): string | undefined => {
  if (Result.isFailure(fields) || fields.success.length !== header.length) return undefined
  return trimBlanks(fields.success[header.indexOf("group")] ?? "")
}

const toRowContent = (row: Row): Result.Result<LineContent, Fault> =>
  Result.gen(function* () {
    if (row.kind === "assert") return LineContent.Assertion({ assertion: yield* toAssertion(row) })
    const input = yield* toInput(row)
    const isSkipped = movements.has(row.kind) && "amount" in input && input.amount === 0n
    // The rest of a line of nothing is checked all the same.
    const checked = fromHost(isSkipped ? { ...input, amount: 1n } : input)
    const command = yield* Result.mapError(checked, (error) => toFault(error, row))
    if (isSkipped) return LineContent.Skipped({ group: row.group })
    return row.group === "" ? LineContent.Command({ command }) : LineContent.Member({ command })
  })

const decodeAccount = Schema.decodeUnknownResult(AccountId)
const prefixPattern = /^[A-Za-z0-9_:-]{0,63}\*$/

const toAssertion = ({ account, asset: code, amount }: Row): Result.Result<Assertion, Fault> =>
  Result.gen(function* () {
    const asset = yield* toAsset(code)
    const expected = yield* toSum("amount", amount, asset)
    if (prefixPattern.test(account)) return { of: { prefix: account.slice(0, -1) }, asset, expected }
    const id = decodeAccount(account)
    return Result.isSuccess(id)
      ? { of: { account: id.success }, asset, expected }
      : yield* faulty("account", "bad id", account)
  })

/** Names the fields, and sees that those and only those that the kind speaks of are filled. */
const toRow = ({ text, fields }: DayRecord, header: ReadonlyArray<Column>): Result.Result<Row, Fault> => {
  if (Result.isFailure(fields)) return faulty(undefined, "malformed", text, fields.failure)
  if (fields.success.length !== header.length) {
    const found = fields.success.length
    const detail = `it has ${found === 1 ? "one field" : `${found} fields`}, the header has ${header.length}`
    return faulty(undefined, "malformed", text, detail)
  }
  const values = fields.success.map((field, index) => {
    const trimmed = trimBlanks(field)
    // The blanks of a text are part of it, unless there is nothing else.
    return trimmed !== "" && texts.has(header[index]) ? field : trimmed
  })
  // every column has a text: that of its field, or the empty one where the header does not name it
  const row = Object.fromEntries(
    allColumns.map((column) => [column, values[header.indexOf(column)] ?? ""])
  ) as Row
  const kind = kinds.get(row.kind)
  if (kind === undefined) return faulty("kind", "unknown kind", row.kind)
  const isAssertion = row.kind === "assert"
  const id = row.group === "" ? "command_id" : "group"
  const needs: ReadonlyArray<Column> = isAssertion ? kind[0] : [id, ...kind[0]]
  const may: ReadonlyArray<Column> = ["kind", "note", isAssertion ? "command_id" : "time", ...kind[1]]
  for (const column of allColumns) {
    if (needs.includes(column)) {
      if (row[column] === "") return faulty(column, "missing", text)
    } else if (!may.includes(column) && row[column] !== "") {
      return faulty(column, "not for this kind", row[column])
    }
  }
  return Result.succeed(row)
}

const idOf = ({ command_id, group }: Row): string => (group === "" ? command_id : group)

/** The command as plain values, not checked yet: ids and texts are judged by the schema of commands. */
const toInput = (row: Row): Result.Result<object, Fault> =>
  Result.gen(function* () {
    const effectiveAt = yield* optional(row.time, toInstant)
    const metadata = yield* optional(row.metadata, toMetadata)
    const common = {
      commandId: idOf(row),
      ...given({ effectiveAt, metadata, description: row.note === "" ? undefined : row.note })
    }
    switch (row.kind) {
      case "deposit":
      case "withdraw":
      case "transfer":
        return { ...common, ...(yield* toMovement(row)) }
      case "journal": {
        const asset = yield* optional(row.asset, (text) => toAsset(text))
        const fx = yield* optional(row.fx, toExchanges)
        return { _tag: "PostJournal", ...common, legs: yield* toLegs(row.legs, asset), ...given({ fx }) }
      }
      case "hold":
      case "capture":
      case "adjust":
      case "release":
        return { ...common, ...(yield* toHoldStep(row)) }
      case "reverse": {
        const shared = {
          _tag: "Reverse",
          commandId: idOf(row),
          reason: row.note,
          ...given({ effectiveAt, metadata })
        }
        return { ...shared, ...(yield* toReversal(row)) }
      }
      default:
        return yield* toAccountChange(row, effectiveAt, metadata)
    }
  })

const toMovement = ({ kind, account, counterparty, ...row }: Row): Result.Result<object, Fault> =>
  Result.gen(function* () {
    const asset = yield* toAsset(row.asset)
    const amount = yield* toUnits("amount", row.amount, asset)
    if (amount < 0n) return yield* faulty("amount", "not positive", row.amount)
    if (kind === "transfer") {
      if (account === counterparty) return yield* faulty("counterparty", "same account", counterparty)
      return { _tag: "Transfer", amount, asset, from: account, to: counterparty }
    }
    const contra = counterparty === "" ? undefined : counterparty
    return { _tag: kind === "deposit" ? "Deposit" : "Withdraw", amount, asset, account, ...given({ contra }) }
  })

/** An amount that a line may leave out; the asset says how it is read. */
const toPart = ({ amount: text, asset: code }: Row) =>
  Result.gen(function* () {
    const asset = yield* optional(code, (text) => toAsset(text))
    if (text === "") return { asset, amount: undefined }
    if (asset === undefined)
      return yield* faulty("asset", "missing", text, "an amount is read by the scale of its asset")
    const amount = yield* toUnits("amount", text, asset)
    return amount < 0n ? yield* faulty("amount", "not positive", text) : { asset, amount }
  })

const tagsOfHolds: { readonly [kind: string]: string } = {
  hold: "PlaceHold",
  capture: "CaptureHold",
  adjust: "AdjustHold",
  release: "ReleaseHold"
}

/** A hold is named by the id of the command that placed it. */
const toHoldStep = (row: Row): Result.Result<object, Fault> =>
  Result.gen(function* () {
    const { kind, account, counterparty, hold } = row
    const part = yield* toPart(row)
    const expiry = yield* optional(row.expires, toExpiry)
    const final = yield* optional(row.final, (text) => toYes("final", text))
    const isMore = yield* optional(row.excess, (text) => toYes("excess", text))
    return {
      _tag: tagsOfHolds[kind],
      account,
      ...expiry,
      ...given({
        hold: kind === "hold" ? undefined : hold,
        ...part,
        to: counterparty === "" ? undefined : counterparty,
        final,
        excess: isMore === undefined ? undefined : "fromAvailable"
      })
    }
  })

const toReversal = (row: Row): Result.Result<object, Fault> =>
  Result.gen(function* () {
    const { asset, amount } = yield* toPart(row)
    const n = yield* optional(row.n, toNumber)
    const legs = yield* optional(row.legs, (text) => toReversalLegs(text, asset))
    const shortfall = row.shortfall === "" ? undefined : row.shortfall
    // Each leg has one of its own.
    const meant = legs === undefined ? asset : undefined
    return { original: row.original, ...given({ amount, asset: meant, n, legs, shortfall }) }
  })

/** A line that moves no money. What is noted of an account that is opened is part of its metadata. */
const toAccountChange = (
  row: Row,
  effectiveAt: number | undefined,
  metadata: object | undefined
): Result.Result<object, Fault> =>
  Result.gen(function* () {
    const common = { commandId: idOf(row), account: row.account, ...given({ effectiveAt }) }
    const note = row.note === "" ? undefined : row.note
    switch (row.kind) {
      case "open": {
        const asset = yield* toAsset(row.asset)
        const overdraftLimit = yield* optional(row.overdraft, (text) => toLimit(text, asset))
        if (note !== undefined && metadata !== undefined && Object.hasOwn(metadata, "note"))
          return yield* faulty(
            "metadata",
            "malformed",
            row.metadata,
            "the column note is its key note already"
          )
        const noted = note === undefined ? metadata : { ...metadata, note }
        return {
          _tag: "OpenAccount",
          ...common,
          asset,
          owner: row.owner,
          ...given({ overdraftLimit, metadata: noted })
        }
      }
      case "update": {
        const asset = yield* optional(row.asset, (text) => toAsset(text))
        const overdraftLimit = yield* optional(row.overdraft, (text) =>
          asset === undefined
            ? faulty("asset", "missing", text, "an overdraft limit is read by the scale of its asset")
            : toLimit(text, asset)
        )
        const owner = row.owner === "" ? undefined : row.owner
        return {
          _tag: "UpdateAccount",
          ...common,
          ...given({ owner, overdraftLimit, asset, metadata, description: note })
        }
      }
      case "close":
        return { _tag: "CloseAccount", ...common, ...given({ reason: note }) }
      default: {
        const _tag = row.kind === "freeze" ? "FreezeAccount" : "UnfreezeAccount" // the kinds that remain
        const side = row.side === "" ? undefined : row.side
        return { _tag, ...common, ...given({ side, reason: note }) }
      }
    }
  })

const toLimit = (text: string, asset: Asset): Result.Result<bigint, Fault> =>
  Result.flatMap(toUnits("overdraft", text, asset), (limit) =>
    limit < 0n ? faulty("overdraft", "negative", text) : Result.succeed(limit)
  )

/** The fields that have a value. */
const given = (fields: { readonly [name: string]: unknown }): object =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

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
  hold: ["hold", "bad id"],
  expiresAt: ["expires", "bad time"],
  expiresIn: ["expires", "bad time"],
  original: ["original", "bad id"],
  shortfall: ["shortfall", "bad id"],
  amount: ["amount", "not positive"],
  legs: ["legs", "bad id"],
  fx: ["fx", "malformed"],
  effectiveAt: ["time", "bad time"],
  owner: ["owner", "bad text"],
  description: ["note", "bad text"],
  reason: ["note", "bad text"],
  side: ["side", "bad text"],
  metadata: ["metadata", "bad text"]
}

const toFault = ({ faults }: InvalidCommand, row: Row): Fault => {
  const [first] = faults
  const detail = first?.message ?? "refused without a reason"
  const place = places[first?.path[0] ?? ""]
  if (place === undefined)
    return { column: undefined, reason: "malformed", text: Object.values(row).join(), detail }
  const [column, reason] =
    place[0] === "command_id" && row.group !== "" ? (["group", "bad id"] as const) : place
  return { column, reason, text: row[column], detail }
}
