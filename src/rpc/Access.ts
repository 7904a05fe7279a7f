/** A caller and what it asks for enter; what the ledger is to do, or `Forbidden`, leaves. */
import { Result } from "effect"
import { accountsOf, type CommandInput, fromHost } from "../domain/Command.ts"
import { Forbidden, type InvalidCommand } from "../domain/Errors.ts"
import type { Procedure } from "./LedgerRpc.ts"
import { type Caller, hasScope, mayName, type Scope } from "./Tokens.ts"
import { fromWire } from "./Wire.ts"

/** What each procedure needs; known before anything of its payload is read. */
export const scopeOf: { readonly [P in Procedure]: Scope } = {
  dispatch: "command",
  dispatchMany: "command",
  balance: "read",
  strongBalance: "read",
  balanceAt: "read",
  history: "read",
  statement: "read",
  transfer: "read",
  accounts: "read",
  contraBalances: "read",
  trialBalance: "read",
  trialBalanceAt: "read",
  stats: "read",
  health: "read",
  events: "read",
  subscribe: "read"
}

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
  const value = fromWire(wire)
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

/** Questions about all accounts, or about the node. */
export const permitWhole = (caller: Caller): Result.Result<void, Forbidden> =>
  caller.accounts === undefined
    ? Result.succeed(undefined)
    : forbid(caller, "only a token without account prefixes may ask about all accounts")
