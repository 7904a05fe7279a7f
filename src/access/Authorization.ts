/**
 * What a caller may do, by the token it has shown: the accounts and command ids it may name, and the commands that need more
 * than the scope `command`. Scopes of whole procedures are checked before, on the head of a call.
 */
import { Result } from "effect"
import { fromJsonCommand } from "../CommandJson.ts"
import { accountsOf, type Command, type CommandInput, fromHost } from "../domain/Command.ts"
import { type CommandError, Forbidden, type InvalidCommand } from "../domain/Errors.ts"
import { type AccountId, isContra } from "../domain/Ids.ts"
import { parseToken } from "../domain/Receipt.ts"
import { refuseHuge, type Sought } from "../domain/StrictDecoding.ts"
import type { AnyQuery } from "../QueryMethods.ts"
import { type Caller, hasScope, mayName } from "./Tokens.ts"

/** Commands that decide over an account instead of using it. */
const adminCommands: ReadonlySet<unknown> = new Set([
  "UpdateAccount",
  "FreezeAccount",
  "UnfreezeAccount",
  "CloseAccount"
])

const forbidden = (caller: Caller, reason: string) => new Forbidden({ caller: caller.name, reason })

/** Whether a value of JSON is an object with fields, as a command and its context are. */
const isFields = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/**
 * A command as a peer sent it. The caller must be allowed to name every account in it, and its command id; the caller's name
 * then stands in the command's context. A value that is no command is let through, for the ledger to say what is wrong.
 */
export const permitCommand = (
  caller: Caller,
  json: unknown,
  sought?: Sought
): Result.Result<CommandInput, Forbidden | InvalidCommand> => {
  const huge = refuseHuge(json)
  if (huge !== undefined) return Result.fail(huge)
  const value = fromJsonCommand(json)
  if (!isFields(value)) return Result.succeed(value as CommandInput) // for the ledger, which takes anything and checks it
  const refused =
    refusalOfKind(caller, value) ?? refusalOfId(caller, value) ?? refusalOfAccounts(caller, value, sought)
  if (refused !== undefined) return Result.fail(refused)
  const { context } = value
  const isNamed = caller.isAuthenticated && (context === undefined || isFields(context))
  const command = isNamed ? { ...value, context: { ...context, caller: caller.name } } : value
  return Result.succeed(command as CommandInput) // as above
}

type Fields = Readonly<Record<string, unknown>>

/** A group needs what each of its commands needs. */
const refusalOfKind = (caller: Caller, { _tag, commands }: Fields): Forbidden | undefined => {
  const members: ReadonlyArray<unknown> = Array.isArray(commands) ? commands : []
  const kinds = [_tag, ...members.map((member) => (isFields(member) ? member._tag : undefined))]
  const denied = kinds.find((kind) => adminCommands.has(kind))
  return denied !== undefined && !hasScope(caller, "admin")
    ? forbidden(caller, `${String(denied)} needs the scope admin`)
    : undefined
}

/**
 * Asks no log: a caller with id prefixes of its own neither takes the ids of others nor learns which of them exist. The id of a
 * reversal is made of that of its original.
 */
const refusalOfId = (caller: Caller, { _tag, commandId, original }: Fields): Forbidden | undefined => {
  const { commandIds } = caller
  if (commandIds === undefined) return undefined
  const id = _tag === "Reverse" ? original : commandId
  const isOwn = typeof id === "string" && commandIds.some((prefix) => id.startsWith(prefix))
  return isOwn ? undefined : forbidden(caller, `its command ids must begin with ${commandIds.join(" or ")}`)
}

const refusalOfAccounts = (
  caller: Caller,
  command: Fields,
  sought: Sought | undefined
): Forbidden | InvalidCommand | undefined => {
  if (caller.accounts === undefined) return undefined
  const checked = fromHost({ commandId: "none", ...command }, sought)
  if (Result.isFailure(checked)) return checked.failure
  // Which accounts it changes stands in its original alone.
  if (checked.success._tag === "Reverse")
    return forbidden(caller, "Reverse needs a token that may name every account")
  return refusalOf(caller, [...accountsOf(checked.success), ...destinationsOf(checked.success)])
}

type Member = Extract<Command, { readonly _tag: "Group" }>["commands"][number]

/** Where the holds of a command may be captured to, which no later command has to name. */
const destinationsOf = (command: Command | Member): ReadonlyArray<AccountId> => {
  if (command._tag === "Group") return command.commands.flatMap(destinationsOf)
  return command._tag === "PlaceHold" && command.to !== undefined && !isContra(command.to) ? [command.to] : []
}

/** Undefined where the caller may name all of these accounts. */
const refusalOf = (caller: Caller, accounts: ReadonlyArray<string>): Forbidden | undefined => {
  const other = accounts.find((account) => !mayName(caller, account))
  return other === undefined
    ? undefined
    : forbidden(caller, `account ${other.slice(0, 64)} is not within ${caller.accounts?.join(", ")}`)
}

/**
 * A refusal as the caller may learn it. That of a capture may be about the account that its hold was placed for, which may be none that
 * the caller may name: what that account is like is not told.
 */
export const concealRefusal = (caller: Caller, error: CommandError): CommandError =>
  !("account" in error) || mayName(caller, error.account)
    ? error
    : forbidden(
        caller,
        `the account that the hold was placed for is not within ${caller.accounts?.join(", ")}, and does not take this payment`
      )

export const permitAccount = (caller: Caller, account: string): Result.Result<string, Forbidden> => {
  const refused = refusalOf(caller, [account])
  return refused === undefined ? Result.succeed(account) : Result.fail(refused)
}

/**
 * The options of queries that name accounts, and how. An option that is not here names none: the cursor of a statement is a
 * version, that of a subscription holds writers, and that of `accounts` is of a query about all of them; a counterparty only
 * chooses among lines that show it.
 */
const accountOptions: {
  readonly [option: string]: (text: string) => Result.Result<ReadonlyArray<string>, InvalidCommand>
} = {
  account: (text) => Result.succeed([text]),
  readToken: (text) => Result.map(parseToken(text), (positions) => positions.map(({ account }) => account))
}

/** A query with its payload as it came. Every account that it names must be the caller's. */
export const permitQuery = (
  caller: Caller,
  { about, conceal, fields }: AnyQuery,
  payload: unknown
): Result.Result<unknown, Forbidden | InvalidCommand> => {
  if (caller.accounts === undefined || !isFields(payload))
    return permitOfSubject(caller, about, conceal !== undefined)
  for (const [option, accountsIn] of Object.entries(accountOptions)) {
    const text = payload[option]
    if (typeof text !== "string") continue // the ledger says what is wrong
    const named = accountsIn(text)
    if (Result.isFailure(named)) return named
    const refused = refusalOf(caller, named.success)
    if (refused !== undefined) return Result.fail(refused)
  }
  // The audit of one account, which was just seen to be the caller's.
  if (typeof payload.account === "string" && Object.hasOwn(fields, "account"))
    return Result.succeed(undefined)
  // A question about the accounts that begin with one of the caller's prefixes is about none but its own.
  const prefix = payload.accountPrefix ?? payload.prefix
  return typeof prefix === "string" && mayName(caller, prefix)
    ? Result.succeed(undefined)
    : permitOfSubject(caller, about, conceal !== undefined)
}

/** Only those who may name every account may ask about all of them, or about the node. */
const permitOfSubject = (
  caller: Caller,
  about: AnyQuery["about"],
  isConcealed: boolean
): Result.Result<void, Forbidden> =>
  caller.accounts === undefined || about === "account" || isConcealed
    ? Result.succeed(undefined)
    : Result.fail(forbidden(caller, "only a token without account prefixes may ask about all accounts"))
