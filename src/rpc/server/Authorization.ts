/** A caller and what it asks for enter; what the ledger is to do, or `Forbidden`, leaves. */
import { Result } from "effect"
import { accountsOf, type CommandInput, fromHost } from "../../domain/Command.ts"
import { Forbidden, type InvalidCommand } from "../../domain/Errors.ts"
import type { AnyQuery } from "../../QueryMethods.ts"
import { fromJsonCommand } from "../CommandJson.ts"
import { type Caller, hasScope, mayName } from "./Tokens.ts"

/** Commands that decide over an account instead of using it. */
const adminCommands: ReadonlySet<unknown> = new Set(["FreezeAccount", "UnfreezeAccount", "CloseAccount"])

const forbid = (caller: Caller, reason: string) => Result.fail(new Forbidden({ caller: caller.name, reason }))

const outside = (caller: Caller, account: string) =>
  forbid(caller, `account ${account.slice(0, 64)} is not within ${caller.accounts?.join(", ")}`)

/** A command as it came. Every account it names must be the caller's; whose command it is then stands in its context. */
export const permitCommand = (
  caller: Caller,
  wire: unknown
): Result.Result<CommandInput, Forbidden | InvalidCommand> => {
  const value = fromJsonCommand(wire)
  // Nothing is checked yet: the ledger refuses what is no command, and spreading what is no object gives `{}`.
  const command = value as Partial<CommandInput> | null
  if (adminCommands.has(command?._tag) && !hasScope(caller, "admin"))
    return forbid(caller, `${command?._tag} needs the scope admin`)
  if (caller.accounts !== undefined) {
    const checked = fromHost({ commandId: "none", ...command })
    if (Result.isFailure(checked)) return Result.fail(checked.failure)
    const other = accountsOf(checked.success).find((account) => !mayName(caller, account))
    if (other !== undefined) return outside(caller, other)
  }
  if (!caller.isAuthenticated || typeof value !== "object" || value === null)
    return Result.succeed(value as CommandInput) // see above
  const context = command?.context
  if (context !== undefined && typeof context !== "object") return Result.succeed(value as CommandInput)
  return Result.succeed({ ...value, context: { ...context, caller: caller.name } } as CommandInput)
}

export const permitAccount = (caller: Caller, account: string): Result.Result<string, Forbidden> =>
  mayName(caller, account) ? Result.succeed(account) : outside(caller, account)

/** Only those who may name every account may ask about all of them, or about the node. */
const permitWhole = (caller: Caller): Result.Result<void, Forbidden> =>
  caller.accounts === undefined
    ? Result.succeed(undefined)
    : forbid(caller, "only a token without account prefixes may ask about all accounts")

/** A query with its payload as it came. */
export const permitQuery = (
  caller: Caller,
  { about, conceal }: AnyQuery,
  payload: unknown
): Result.Result<unknown, Forbidden> => {
  if (caller.accounts === undefined) return Result.succeed(undefined)
  const account = textAt(payload, "account")
  if (about === "account")
    return account === undefined ? Result.succeed(undefined) : permitAccount(caller, account)
  // A stream of the accounts that begin with one of the caller's prefixes is about none but its own.
  const prefix = textAt(payload, "accountPrefix")
  return conceal !== undefined || (prefix !== undefined && mayName(caller, prefix))
    ? Result.succeed(undefined)
    : permitWhole(caller)
}

/** The text at a key of a payload that nothing is known of yet. */
const textAt = (payload: unknown, key: string): string | undefined => {
  const value: unknown =
    typeof payload === "object" && payload !== null && Object.hasOwn(payload, key)
      ? Reflect.get(payload, key)
      : undefined
  return typeof value === "string" ? value : undefined
}
