/** The head of a call enters, before its payload is read; the caller it belongs to, or a typed refusal, leaves. */
import { Clock, Context, Effect, Layer, Result } from "effect"
import { Forbidden, Overloaded, Unauthenticated } from "../../domain/Errors.ts"
import { type Procedure, scopeOf } from "../LedgerRpc.ts"
import { RpcConfig } from "./RpcLimits.ts"
import { anyone, type Caller, hasScope, makeLookup, type Token } from "./Tokens.ts"

export type AdmissionError = Unauthenticated | Forbidden | Overloaded

/** What a connection remembers: the token it showed last, so that it is looked up once. */
export interface ConnectionIdentity {
  token: string | undefined
  caller: Caller | undefined
}

/** The header of an admitted call by which the handlers know its caller; what a peer sends of that name is dropped. */
export const callerHeader = "x-chronicle-caller"

export class Authenticator extends Context.Service<
  Authenticator,
  {
    /** `authorization` is the header's value. Counts one call against the caller's rate. */
    readonly admitUnsafe: (
      procedure: Procedure,
      authorization: string | undefined,
      identity: ConnectionIdentity
    ) => Result.Result<Caller, AdmissionError>
    /** Counts further commands of a batch against the rate. */
    readonly chargeUnsafe: (caller: Caller, commands: number) => Result.Result<void, Overloaded>
    /** The caller of an admitted call. */
    readonly callerOf: (headers: Readonly<Record<string, string>>) => Caller
    /** Whether tokens are asked for. */
    readonly isGuarded: boolean
  }
>()("chronicle/rpc/Authenticator") {
  /** No tokens: everybody may do everything, which `serve` allows on loopback alone. */
  static readonly layer = (tokens: ReadonlyArray<Token>) => Layer.effect(Authenticator, make(tokens))
}

const make = Effect.fnUntraced(function* (tokens: ReadonlyArray<Token>) {
  const { ratePerSecond } = yield* RpcConfig
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

  /** A bucket that holds one second's worth and fills evenly. A charge may overdraw it once, so any batch passes. */
  const chargeUnsafe = (caller: Caller, calls: number): Result.Result<void, Overloaded> => {
    const now = clock.currentTimeMillisUnsafe()
    let bucket = buckets.get(caller)
    if (bucket === undefined) {
      bucket = { left: ratePerSecond, at: now }
      buckets.set(caller, bucket)
    }
    bucket.left = Math.min(
      ratePerSecond,
      bucket.left + (Math.max(0, now - bucket.at) * ratePerSecond) / 1_000
    )
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
    admitUnsafe: (procedure, authorization, identity) => {
      const caller = identify(authorization, identity)
      if (caller === undefined) {
        const reason =
          authorization === undefined ? "no bearer token was sent" : "the token is not known here"
        return Result.fail(new Unauthenticated({ reason }))
      }
      const scope = scopeOf(procedure)
      if (!hasScope(caller, scope))
        return Result.fail(new Forbidden({ caller: caller.name, reason: `the scope ${scope} is missing` }))
      return Result.map(chargeUnsafe(caller, 1), () => caller)
    },
    callerOf: (headers) => callers.get(headers[callerHeader] ?? "") ?? nobody
  } satisfies Authenticator["Service"]
})

/** Stands for a caller that is not known, which no admitted call has. */
const nobody: Caller = {
  name: "nobody",
  scopes: new Set(),
  accounts: [],
  commandIds: [],
  isAuthenticated: false
}
