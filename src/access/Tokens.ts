/** The bearer tokens of a node: how they are configured, to whom a presented token belongs, and what that caller may do. */
import { hash, timingSafeEqual } from "node:crypto"
import { Redacted, Result, Schema } from "effect"
import { CallerAccounts, CallerName, Scope } from "./Scope.ts"

const CommandIdPrefix = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9_:./@=+-]{1,128}$/, { message: "must be the beginning of a command id" })
)

/** One token as it is configured: by its SHA-256, never by itself. */
export const Token = Schema.Struct({
  /** Stands in every event this caller causes (`context.caller`) and in the log of refusals. */
  name: CallerName,
  sha256: Schema.String.check(
    Schema.isPattern(/^[0-9a-f]{64}$/, { message: "must be 64 hexadecimal digits" })
  ),
  scopes: Schema.Array(Scope).check(Schema.isMinLength(1)),
  /** The caller may only name accounts that begin with one of these; any, if absent. */
  accounts: Schema.optionalKey(Schema.Array(CallerAccounts).check(Schema.isMinLength(1))),
  /**
   * The caller's command ids must begin with one of these, and it must make them itself; any, if absent. Ids are one name
   * space of the whole ledger: this keeps a part of it for the caller.
   */
  commandIds: Schema.optionalKey(Schema.Array(CommandIdPrefix).check(Schema.isMinLength(1)))
})
export type Token = typeof Token.Type

/** JSON: an array of tokens; at most 1,000, since each call is compared with all of them. */
const Tokens = Schema.fromJsonString(
  Schema.Array(Token).check(Schema.isMinLength(1), Schema.isMaxLength(1_000))
)

/** A caller, as the node knows it. */
export interface Caller {
  readonly name: string
  readonly scopes: ReadonlySet<Scope>
  /** Undefined: every account. */
  readonly accounts: ReadonlyArray<string> | undefined
  /** Prefixes of the command ids that the caller may use; undefined: any. */
  readonly commandIds: ReadonlyArray<string> | undefined
  /** Whether the name is proven, and so belongs into what the caller does. */
  readonly isAuthenticated: boolean
}

/** Every caller, where no tokens are configured (allowed on loopback alone). */
export const anyone: Caller = {
  name: "anyone",
  scopes: new Set(["admin"]),
  accounts: undefined,
  commandIds: undefined,
  isAuthenticated: false
}

export const hashToken = (token: string): string => hash("sha256", token, "hex")

/** `admin` includes `command` and `read`; `command` does not include `read`. */
export const hasScope = (caller: Caller, scope: Scope): boolean =>
  caller.scopes.has("admin") || caller.scopes.has(scope)

export const mayName = (caller: Caller, account: string): boolean =>
  caller.accounts === undefined || caller.accounts.some((prefix) => account.startsWith(prefix))

/** Looks a token up. Every entry is compared, each in constant time, so that the time taken tells nothing of any of them. */
export const makeLookup = (tokens: ReadonlyArray<Token>) => {
  const entries = tokens.map((token) => ({
    digest: Buffer.from(token.sha256, "hex"),
    caller: {
      name: token.name,
      scopes: new Set(token.scopes),
      accounts: token.accounts,
      commandIds: token.commandIds,
      isAuthenticated: true
    } satisfies Caller
  }))
  return (presented: string): Caller | undefined => {
    const digest = hash("sha256", presented, "buffer")
    let found: Caller | undefined
    for (const entry of entries) if (timingSafeEqual(entry.digest, digest)) found = entry.caller
    return found
  }
}

const Entries = Schema.fromJsonString(Schema.Array(Schema.Unknown))
const strictly = { onExcessProperty: "error" } as const

/** The number of the first entry that is none, from 1; undefined where there is no such entry, or no array. */
const faultyEntry = (json: string): number | undefined => {
  const entries = Result.getOrUndefined(Schema.decodeUnknownResult(Entries)(json)) ?? []
  const isFaulty = (entry: unknown) => Result.isFailure(Schema.decodeUnknownResult(Token)(entry, strictly))
  const index = entries.findIndex(isFaulty)
  return index === -1 ? undefined : index + 1
}

/** The numbers of two entries that are alike in this. */
const alike = (
  tokens: ReadonlyArray<Token>,
  of: (token: Token) => string
): readonly [number, number] | undefined => {
  const seen = new Map<string, number>()
  for (const [index, token] of tokens.entries()) {
    const before = seen.get(of(token))
    if (before !== undefined) return [before, index + 1]
    seen.set(of(token), index + 1)
  }
  return undefined
}

/**
 * Reads the configuration; the message about a fault quotes nothing of it, and says in which entry it is, counted from 1. An unknown field is
 * mostly a mistyped one: without the `accounts` that were meant a caller might name every account.
 */
export const parseTokens = (json: Redacted.Redacted): Result.Result<ReadonlyArray<Token>, string> => {
  const parsed = Schema.decodeUnknownResult(Tokens)(Redacted.value(json), strictly)
  if (Result.isFailure(parsed)) {
    const faulty = faultyEntry(Redacted.value(json))
    return Result.fail(
      'must be a JSON array of {"name", "sha256", "scopes": ["read" | "command" | "audit" | "admin"], "accounts"?: [prefix], "commandIds"?: [prefix]} without other fields' +
        `${faulty === undefined ? "" : `, which entry ${faulty} is not`}; ` +
        "`chronicle token` prints one"
    )
  }
  const named = alike(parsed.success, ({ name }) => name)
  if (named !== undefined)
    return Result.fail(
      `names one caller twice (entries ${named.join(" and ")}): give every token a name of its own`
    )
  // One of the two callers would have the other's rights, and its name in what it does.
  const shared = alike(parsed.success, ({ sha256 }) => sha256)
  return shared === undefined
    ? Result.succeed(parsed.success)
    : Result.fail(
        `has one token for two callers (entries ${shared.join(" and ")}): give every caller a token of its own`
      )
}
