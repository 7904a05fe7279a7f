/**
 * Errors as RFC 9457 problem documents: `type` ends in the error's tag, `status` is that of the error's class, and the error's own
 * fields stand beside them. The schemas of the documents and the documents themselves are derived from the classes of the errors, so
 * that a new error is described nowhere else.
 */
import { Schema } from "effect"
import { HttpApiSchema } from "effect/http-api"
import { CommandError, QueryError, WebhookLimit } from "../../domain/Errors.ts"

/** No route, or nothing that is known by that id. Over RPC the one cannot happen, and the other is an empty answer. */
export class NotFound extends Schema.TaggedError<NotFound>()(
  "NotFound",
  { what: Schema.String },
  { httpApiStatus: 404 }
) {
  override get message() {
    return `there is no ${this.what}`
  }
}

/** The path is known, under other methods. */
export class MethodNotAllowed extends Schema.TaggedError<MethodNotAllowed>()(
  "MethodNotAllowed",
  { allowed: Schema.Array(Schema.String) },
  { httpApiStatus: 405 }
) {
  override get message() {
    return `this path takes ${this.allowed.join(", ")}`
  }
}

/** The body has more bytes than the route takes. Nothing was done. */
export class PayloadTooLarge extends Schema.TaggedError<PayloadTooLarge>()(
  "PayloadTooLarge",
  { bytesMax: Schema.Int },
  { httpApiStatus: 413 }
) {
  override get message() {
    return `the body may have ${this.bytesMax} bytes`
  }
}

/** The body is of another media type than the route takes. Nothing was done. */
export class UnsupportedMediaType extends Schema.TaggedError<UnsupportedMediaType>()(
  "UnsupportedMediaType",
  { expected: Schema.String },
  { httpApiStatus: 415 }
) {
  override get message() {
    return `the content-type must be ${this.expected}`
  }
}

/** The request expects of the server what no request gets (RFC 9110, 10.1.1). Nothing was done. */
export class ExpectationFailed extends Schema.TaggedError<ExpectationFailed>()(
  "ExpectationFailed",
  { expected: Schema.String },
  { httpApiStatus: 417 }
) {
  override get message() {
    return `an expect may be ${this.expected} alone`
  }
}

/** A fault of the server. Whether something was done is not known: send the same command id again. */
export class InternalError extends Schema.TaggedError<InternalError>()(
  "InternalError",
  {},
  { httpApiStatus: 500 }
) {
  override get message() {
    return "the server failed; its log says why"
  }
}

const httpErrors = [
  NotFound,
  MethodNotAllowed,
  PayloadTooLarge,
  UnsupportedMediaType,
  ExpectationFailed,
  InternalError
] as const
type HttpError = InstanceType<(typeof httpErrors)[number]>

/** Everything that a request can fail with. */
export type RequestError = CommandError | QueryError | WebhookLimit | HttpError

/** The class of an error, as far as a problem document shows it. */
interface ErrorClass extends Schema.Top {
  readonly identifier: string
  readonly fields: Schema.Struct.Fields
}

const problemType = (tag: string): string => `/docs#${tag}`

/** A member of the document may not take the name of one that RFC 9457 defines: `AccountNotActive` has a `status`. */
const memberOf = (field: string): string => (field === "status" ? "accountStatus" : field)

/** `AccountNotFound` becomes `Account not found`. */
const titleOf = (tag: string): string =>
  tag.replaceAll(/[a-z][A-Z]/g, ([low = "", up = ""]) => `${low} ${up.toLowerCase()}`)

const statusOf = (error: ErrorClass): number => {
  const status = Schema.resolveAnnotations(error)?.httpApiStatus
  if (status === undefined) throw new Error(`${error.identifier} has no status`)
  return status
}

/** What all documents have; none of them needs a service to be decoded. */
type ProblemSchema = Schema.Codec<{ readonly type: string; readonly detail: string }, unknown>

interface Problem {
  readonly status: number
  /** Of an instance of the class, the document. */
  readonly encode: (error: RequestError) => Readonly<Record<string, unknown>>
  readonly schema: ProblemSchema
}

const makeProblem = (error: ErrorClass): Problem => {
  const { _tag, ...fields } = error.fields
  const [type, status, title] = [problemType(error.identifier), statusOf(error), titleOf(error.identifier)]
  const members: Record<string, Schema.Top> = {}
  // A struct's field is a schema; the type of a struct's fields leaves more open.
  for (const [name, field] of Object.entries(fields)) members[memberOf(name)] = field as Schema.Top
  const schema = Schema.Struct({
    type: Schema.Literal(type),
    title: Schema.Literal(title),
    status: Schema.Literal(status),
    detail: Schema.String,
    ...members,
    /** With `Indeterminate` alone: the path under which the outcome can be asked for. */
    ...(error.identifier === "Indeterminate" ? { ask: Schema.String } : {})
  }).annotate({ identifier: `${error.identifier}Problem` })
  // No field of an error needs a service to be encoded.
  const codec: Schema.Top = Schema.toCodecJson(schema)
  const encode = Schema.encodeUnknownSync(codec as Schema.Codec<unknown, unknown>)
  return {
    status,
    schema: schema.pipe(
      HttpApiSchema.asJson({ contentType: "application/problem+json" }),
      HttpApiSchema.status(status)
    ) as Schema.Top as ProblemSchema, // by the fields above
    encode: (failure) => {
      const document: Record<string, unknown> = { type, title, status, detail: failure.message }
      for (const name of Object.keys(fields)) {
        const value: unknown = Reflect.get(failure, name)
        if (value !== undefined) document[memberOf(name)] = value
      }
      if (failure._tag === "Indeterminate") document.ask = commandPath(failure.commandId)
      return encode(document) as Readonly<Record<string, unknown>> // a struct encodes to an object
    }
  }
}

/** Where the outcome of a command is told. */
export const commandPath = (commandId: string): string => `/v1/commands/${encodeURIComponent(commandId)}`

const classes: ReadonlyArray<ErrorClass> = [
  ...new Set<ErrorClass>([...CommandError.members, ...QueryError.members, WebhookLimit, ...httpErrors])
]
const problems: ReadonlyMap<string, Problem> = new Map(
  classes.map((error) => [error.identifier, makeProblem(error)])
)

const problemOf = (tag: string): Problem => {
  const problem = problems.get(tag)
  if (problem === undefined) throw new Error(`no problem document for ${tag}`)
  return problem
}

/** Every tag with its status, for the reference page. */
export const problemList = [...problems].map(([tag, { status }]) => ({ tag, title: titleOf(tag), status }))

const schemasOf = (errors: ReadonlyArray<ErrorClass>): ReadonlyArray<ProblemSchema> =>
  errors.map(({ identifier }) => problemOf(identifier).schema)

/** The document of any error of a command, as one of several answers. */
export const CommandProblem = Schema.Union(
  CommandError.members.map(({ identifier }) => problemOf(identifier).schema)
)

/** What a request that sends commands can be answered with instead of a receipt. */
export const commandProblems = schemasOf([
  ...CommandError.members,
  NotFound,
  PayloadTooLarge,
  UnsupportedMediaType,
  ExpectationFailed,
  InternalError
])
/** What a request that makes a webhook can be answered with instead of it. */
export const webhookProblems = schemasOf([
  ...QueryError.members,
  WebhookLimit,
  PayloadTooLarge,
  UnsupportedMediaType,
  ExpectationFailed,
  InternalError
])
/** What a question can be answered with instead of its answer. */
export const queryProblems = schemasOf([...QueryError.members, NotFound, ExpectationFailed, InternalError])

/** The document of an error, and its status. */
export const toProblem = (
  error: RequestError
): { readonly status: number; readonly document: Readonly<Record<string, unknown>> } => {
  const { status, encode } = problemOf(error._tag)
  return { status, document: encode(error) }
}
