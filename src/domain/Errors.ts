/** Every error that a caller of the ledger can get, the same in process, over RPC and over HTTP. */
import { Schema } from "effect"
import { printable } from "./Printable.ts"
import { AccountNotFound, InvalidCommand, Rejection } from "./Rejections.ts"

export * from "./Rejections.ts"

const Id = Schema.String

/** The command id was accepted before with another body. */
export class CommandIdReused extends Schema.TaggedError<CommandIdReused>()(
  "CommandIdReused",
  { commandId: Id },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `command id ${this.commandId} was used for another command; give this one an id of its own`
  }
}

/** No command of that id was accepted, so there is nothing that could be reversed. Nothing was done. */
export class CommandNotFound extends Schema.TaggedError<CommandNotFound>()(
  "CommandNotFound",
  { commandId: Id },
  { httpApiStatus: 404 }
) {
  override get message() {
    return `no command of the id ${this.commandId} was accepted`
  }
}

/** A queue is full. Nothing was done; try again after `retryAfterMs`. */
export class Overloaded extends Schema.TaggedError<Overloaded>()(
  "Overloaded",
  { what: Schema.String, retryAfterMs: Schema.Int },
  { httpApiStatus: 429 }
) {
  override get message() {
    return `${this.what} is full; try again in ${this.retryAfterMs} ms`
  }
}

/** A service that the ledger needs is not to be reached, or the ledger is closing. Nothing was done. */
export class Unavailable extends Schema.TaggedError<Unavailable>()(
  "Unavailable",
  { what: Schema.String, reason: Schema.String },
  { httpApiStatus: 503 }
) {
  override get message() {
    return printable(`${this.what}: ${this.reason}; nothing was done`)
  }
}

/** The deadline passed before the outcome was known. Send the same command id again to learn it. */
export class Indeterminate extends Schema.TaggedError<Indeterminate>()(
  "Indeterminate",
  { commandId: Id },
  { httpApiStatus: 504 }
) {
  override get message() {
    return `the outcome of command ${this.commandId} is unknown; send the same id again`
  }
}

/** A read token or an instant was not reached before the deadline. */
export class NotYetVisible extends Schema.TaggedError<NotYetVisible>()(
  "NotYetVisible",
  { wanted: Schema.String, reached: Schema.String },
  { httpApiStatus: 503 }
) {
  override get message() {
    return printable(`${this.wanted} is not visible yet (reached ${this.reached})`)
  }
}

/** The caller did not show who it is: no token, or none that this ledger knows. Nothing was done. */
export class Unauthenticated extends Schema.TaggedError<Unauthenticated>()(
  "Unauthenticated",
  { reason: Schema.String },
  { httpApiStatus: 401 }
) {
  override get message() {
    return printable(`not authenticated: ${this.reason}`)
  }
}

/** The caller is known and may not do this: a scope is missing, or an account is not within its prefixes. */
export class Forbidden extends Schema.TaggedError<Forbidden>()(
  "Forbidden",
  { caller: Schema.String, reason: Schema.String },
  { httpApiStatus: 403 }
) {
  override get message() {
    return printable(`${this.caller} may not do this: ${this.reason}`)
  }
}

/** There are as many webhooks as there may be: `max`, paused and disabled ones included. Nothing was done. */
export class WebhookLimit extends Schema.TaggedError<WebhookLimit>()(
  "WebhookLimit",
  { max: Schema.Int },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `there are ${this.max} webhooks already, which is the most (CHRONICLE_WEBHOOK_ENDPOINTS_MAX): delete one that is not needed`
  }
}

/** Everything `dispatch` can fail with. */
export const CommandError = Schema.Union([
  ...Rejection.members,
  CommandIdReused,
  CommandNotFound,
  Overloaded,
  Unavailable,
  Indeterminate,
  Unauthenticated,
  Forbidden
])
export type CommandError = typeof CommandError.Type

/** Everything a query can fail with. */
export const QueryError = Schema.Union([
  AccountNotFound,
  InvalidCommand,
  Unavailable,
  NotYetVisible,
  Overloaded,
  Unauthenticated,
  Forbidden
])
export type QueryError = typeof QueryError.Type
