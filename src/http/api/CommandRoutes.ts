/**
 * Where each kind of command is sent over HTTP: the resource that it makes or changes. Every command may also be sent to
 * `POST /v1/commands`, by its `_tag`.
 */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiSchema, OpenApi } from "effect/http-api"
import { AskedCommand, journalLegsMax, Leg } from "../../domain/Command.ts"
import { AccountId, AccountOrContra, CommandId, Instant } from "../../domain/Ids.ts"
import { Amount, OverdraftLimit } from "../../domain/Money.ts"
import { Receipt } from "../../domain/Receipt.ts"
import { commandKeyFormat, entityTagFormat, InstantText } from "./Parameters.ts"
import { CommandProblem, commandPath, commandProblems } from "./Problems.ts"

type Tag = keyof typeof AskedCommand.cases

interface CommandRoute {
  readonly tag: Tag
  readonly name: string
  /** Each parameter is the field of the command that has its name. */
  readonly path: `/v1/${string}`
  /** What it does, in a sentence. */
  readonly says: string
}

const route = (tag: Tag, path: CommandRoute["path"], says: string): CommandRoute => ({
  tag,
  says,
  name: tag.charAt(0).toLowerCase() + tag.slice(1),
  path
})

export const commandRoutes: ReadonlyArray<CommandRoute> = [
  route("OpenAccount", "/v1/accounts", "Opens an account."),
  route("Deposit", "/v1/accounts/:account/deposits", "Brings money in from a contra account."),
  route("Withdraw", "/v1/accounts/:account/withdrawals", "Takes money out to a contra account."),
  route("Transfer", "/v1/transfers", "Moves money from one account to another."),
  route(
    "PostJournal",
    "/v1/journals",
    "Moves money between any number of accounts and contra accounts; each asset sums to zero."
  ),
  route("Group", "/v1/groups", "Carries out several commands in order, all or none."),
  route(
    "UpdateAccount",
    "/v1/accounts/:account/update",
    "Changes owner, metadata or overdraft limit of an account."
  ),
  route("PlaceHold", "/v1/accounts/:account/holds", "Keeps an amount back for a payment to come."),
  route(
    "CaptureHold",
    "/v1/accounts/:account/holds/:hold/capture",
    "Pays what a hold kept back, whole or in part."
  ),
  route(
    "AdjustHold",
    "/v1/accounts/:account/holds/:hold/adjust",
    "Changes the amount or the expiry of a hold."
  ),
  route(
    "ReleaseHold",
    "/v1/accounts/:account/holds/:hold/release",
    "Frees what a hold kept back, whole or in part."
  ),
  route(
    "Reverse",
    "/v1/transactions/:original/reversals",
    "Gives back what a command moved, whole or in part."
  ),
  route("FreezeAccount", "/v1/accounts/:account/freeze", "Freezes an account for debits, credits or both."),
  route("UnfreezeAccount", "/v1/accounts/:account/unfreeze", "Lifts a freeze."),
  route("CloseAccount", "/v1/accounts/:account/close", "Closes an account whose balance is zero.")
]

/** Where what a command made can be read. */
export const locationOf = (command: unknown, { commandId, postings }: Receipt): string => {
  const tag = typeof command === "object" && command !== null && "_tag" in command ? command._tag : undefined
  if (tag === "OpenAccount") return `/v1/accounts/${encodeURIComponent(postings[0]?.account ?? "")}`
  return tag === "Transfer" ? `/v1/transfers/${encodeURIComponent(commandId)}` : commandPath(commandId)
}

// A receipt has the same bytes each time that it is answered: whether it was a repetition is told by status and header.
const { replayed: _, ...receiptFields } = Receipt.fields
export const ReceiptBody = Schema.Struct(receiptFields).annotate({ identifier: "Receipt" })

const receiptHeaders = {
  location: Schema.String,
  "chronicle-read-token": Schema.optional(
    Schema.String.annotate({
      description: "The receipt's `readToken`; absent where it has no room in a header."
    })
  )
}

const receipts = [
  HttpApiSchema.WithHeaders(
    ReceiptBody.annotate({ description: "The command is durable." }).pipe(HttpApiSchema.status(201)),
    receiptHeaders
  ),
  HttpApiSchema.WithHeaders(
    ReceiptBody.annotate({ description: "It was so already: the same receipt." }).pipe(
      HttpApiSchema.status(200)
    ),
    { ...receiptHeaders, "idempotency-replayed": Schema.Literal("true") }
  )
] as const

const commandHeaders = {
  "idempotency-key": Schema.optional(
    Schema.String.annotate({
      format: commandKeyFormat,
      description: "The command id, unless the body has it: made by the client, one for each command."
    })
  ),
  "if-match": Schema.optional(
    Schema.String.annotate({
      format: entityTagFormat,
      description: "The ETag that the (first) account must have, as `expectedVersion`."
    })
  )
}

/** Amounts as the document shows them: their bounds are checked on the number, which a schema of texts cannot say. */
const documented: ReadonlyMap<unknown, Schema.Top> = new Map<unknown, Schema.Top>([
  [Amount, Schema.String.check(Schema.isPattern(/^[1-9]\d{0,35}$/u))],
  [OverdraftLimit, Schema.String.check(Schema.isPattern(/^(0|[1-9]\d{0,35})$/u))],
  [Instant, Schema.Union([Instant, InstantText])],
  [AccountOrContra, Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_:-]{1,64}$/u))]
])

const documentedField = (field: Schema.Top): Schema.Top => {
  const whole = documented.get(field)
  if (whole !== undefined) return whole
  const optional = "schema" in field ? documented.get(field.schema) : undefined
  return optional === undefined ? field : Schema.optionalKey(optional)
}

const legFields = {
  ...Leg.fields,
  account: documentedField(AccountOrContra),
  amount: documentedField(Amount)
}

/** The fields of a command as a body has them: the id may come in a header, and instants as text. */
const bodyFieldsOf = (tag: Tag, without: ReadonlyArray<string>): Schema.Struct.Fields => {
  const fields: Record<string, Schema.Top> = {}
  const own: Schema.Struct.Fields = AskedCommand.cases[tag].fields
  for (const [name, field] of Object.entries(own)) {
    if (without.includes(name)) continue
    if (name === "commandId") fields[name] = Schema.optionalKey(CommandId)
    else if (name === "legs" && tag === "PostJournal")
      fields[name] = Schema.Array(Schema.Struct(legFields)).check(
        Schema.isMinLength(2),
        Schema.isMaxLength(journalLegsMax)
      )
    // A field of a struct is a schema; the type of a struct's fields leaves more open.
    else fields[name] = documentedField(field as Schema.Top)
  }
  return fields
}

const paramsOf = (path: string): ReadonlyArray<string> =>
  [...path.matchAll(/:(\w+)/g)].map(([, name = ""]) => name)

const paramSchemas: Readonly<Record<string, Schema.Top>> = { account: AccountId }

const commandEndpoint = ({ tag, name, path, says }: CommandRoute) => {
  const params = paramsOf(path)
  const body = Schema.Struct(bodyFieldsOf(tag, ["_tag", ...params])).annotate({ identifier: tag })
  const schemas: Record<string, Schema.Top> = {}
  for (const param of params) schemas[param] = paramSchemas[param] ?? CommandId
  return HttpApiEndpoint.post(name, path, {
    ...(params.length === 0 ? {} : { params: schemas }),
    headers: commandHeaders,
    payload: body,
    success: receipts,
    error: commandProblems
  }).annotateMerge(OpenApi.annotations({ summary: says }))
}

/** Any command, with its `_tag`. */
const AnyCommand = Schema.Union(
  commandRoutes.map(({ tag }) =>
    Schema.Struct(bodyFieldsOf(tag, [])).annotate({ identifier: `${tag}Command` })
  )
)

/** A line of the answer to a batch: of a command, or the last. */
const BatchLine = Schema.Union([
  Schema.Struct({ status: Schema.Literals([200, 201]), receipt: ReceiptBody }),
  Schema.Struct({ status: Schema.Int, problem: CommandProblem }),
  Schema.Struct({ done: Schema.Int })
]).annotate({ identifier: "BatchLine" })

export const commandEndpoints = [
  HttpApiEndpoint.post("sendCommand", "/v1/commands", {
    headers: commandHeaders,
    payload: AnyCommand,
    success: receipts,
    error: commandProblems
  }).annotateMerge(
    OpenApi.annotations({ summary: "Carries out a command of any kind, named by its `_tag`." })
  ),
  ...commandRoutes.map(commandEndpoint)
]

export const batchEndpoint = HttpApiEndpoint.post("sendBatch", "/v1/batch", {
  payload: HttpApiSchema.StreamNdjson({ schema: AnyCommand }),
  success: HttpApiSchema.StreamNdjson({ schema: BatchLine }),
  error: commandProblems
}).annotateMerge(
  OpenApi.annotations({
    summary: "Carries out a command a line, and answers a result a line, in the same order."
  })
)
