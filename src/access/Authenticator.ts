/**
 * Decides on the head of a call over RPC or of a request over HTTP, before its payload is read, whose call it is and whether that
 * caller may make it: by its token, the scope that the call needs, and the caller's rate, which all servers of a node share.
 */
import { Clock, Context, Effect, Layer, Result } from "effect"
import { Forbidden, Overloaded, Unauthenticated } from "../domain/Errors.ts"
import { elapsedMsUnsafe } from "../infra/config/Elapsed.ts"
import type { Scope } from "./Scope.ts"
import { anyone, type Caller, hasScope, makeLookup, type Token } from "./Tokens.ts"

export type AdmissionError = Unauthenticated | Forbidden | Overloaded

/** The token that a connection showed last and whose it is, so that a token is looked up once and not with every call. */
export interface ConnectionIdentity {
  token: string | undefined
  caller: Caller | undefined
}

/** The header by which the handlers of an admitted call know its caller; a header of that name sent by a peer is dropped. */
export const callerHeader = "x-chronicle-caller"

export class Authenticator extends Context.Service<
  Authenticator,
  {
    /** `authorization` is the header's value. Counts one call against the caller's rate. */
    readonly admitUnsafe: (
      scope: Scope,
      authorization: string | undefined,
      identity: ConnectionIdentity
    ) => Result.Result<Caller, AdmissionError>
    /** Counts further commands of a batch against the rate. */
    readonly chargeUnsafe: (caller: Caller, commands: number) => Result.Result<void, Overloaded>
    /** The caller of an admitted call. */
    readonly callerOf: (headers: Readonly<Record<string, string>>) => Caller
    /** Whether a call needs a token. */
    readonly isGuarded: boolean
  }
>()("chronicle/access/Authenticator") {
  /**
   * Without tokens every caller may do everything, which `serve` allows on loopback alone. `ratePerSecond`: calls, and further
   * commands of their batches, of one token.
   */
  static readonly layer = (tokens: ReadonlyArray<Token>, ratePerSecond: number) =>
    Layer.effect(Authenticator, make(tokens, ratePerSecond))
}

const make = Effect.fnUntraced(function* (tokens: ReadonlyArray<Token>, ratePerSecond: number) {
  const clock = yield* Clock.Clock
  const lookup = makeLookup(tokens)
  const isGuarded = tokens.length > 0
  const callers = new Map<string, Caller>([[anyone.name, anyone]])
  const buckets = new Map<Caller, { left: number; at: number }>()

  const identify = (authorization: string | undefined, identity: ConnectionIdentity): Caller | undefined => {
    if (!isGuarded) return anyone
    const token = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1]
    if (token === undefined) return undefined
    if (identity.token === token) return identity.caller
    const caller = lookup(token)
    if (caller !== undefined) {
      identity.token = token
      identity.caller = caller
      callers.set(caller.name, caller)
    }
    return caller
  }

  /** A token bucket of one second's calls, which fills evenly. A charge may overdraw it once, so that a batch of any size passes. */
  const chargeUnsafe = (caller: Caller, calls: number): Result.Result<void, Overloaded> => {
    const now = elapsedMsUnsafe(clock)
    let bucket = buckets.get(caller)
    if (bucket === undefined) {
      bucket = { left: ratePerSecond, at: now }
      buckets.set(caller, bucket)
    }
    bucket.left = Math.min(ratePerSecond, bucket.left + ((now - bucket.at) * ratePerSecond) / 1_000)
    bucket.at = now
    if (bucket.left < 1) {
      const retryAfterMs = Math.max(1, Math.ceil(((1 - bucket.left) * 1_000) / ratePerSecond))
      return Result.fail(new Overloaded({ what: `the rate of ${caller.name}`, retryAfterMs }))
    }
    bucket.left -= calls
    return Result.succeed(undefined)
  }

  return {
    isGuarded,
    chargeUnsafe,
    admitUnsafe: (scope, authorization, identity) => {
      const caller = identify(authorization, identity)
      if (caller === undefined) {
        const reason =
          authorization === undefined ? "no bearer token was sent" : "the token is not known here"
        return Result.fail(new Unauthenticated({ reason }))
      }
      if (!hasScope(caller, scope))
        return Result.fail(new Forbidden({ caller: caller.name, reason: `the scope ${scope} is missing` }))
      return Result.map(chargeUnsafe(caller, 1), () => caller)
    },
    callerOf: (headers) => callers.get(headers[callerHeader] ?? "") ?? unknownCaller
  } satisfies Authenticator["Service"]
})

/** The caller of a call that names none, which no admitted call does. */
const unknownCaller: Caller = {
  name: "nobody",
  scopes: new Set(),
  accounts: [],
  commandIds: [],
  isAuthenticated: false
}
