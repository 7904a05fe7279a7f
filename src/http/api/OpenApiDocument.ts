/**
 * The OpenAPI 3.1 document of the API. Derived from the routes; what their schemas cannot say, because a URL holds texts alone or
 * because security is of the whole API, is added here.
 */
import { OpenApi } from "effect/http-api"
import { instantForms } from "../../domain/InstantText.ts"
import { pageRowsMax } from "../../domain/Views.ts"
import { isJson, type Json, withGeneratorHints } from "./GeneratorHints.ts"
import { LedgerHttpApi } from "./LedgerHttpApi.ts"
import {
  afterVersionFormat,
  commandKeyFormat,
  entityTagFormat,
  entityTagsFormat,
  instantFormat,
  pageLimitFormat,
  readTokenFormat,
  webhookUrlFormat,
  wholeNumberFormat
} from "./Parameters.ts"

/** What takes the place of a schema with one of our formats. */
const schemasByFormat: Readonly<Record<string, Json>> = {
  [instantFormat]: {
    type: "string",
    pattern:
      "^(\\d{12,14}|(19[7-9]\\d|[2-9]\\d{3})-(0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])(T([01]\\d|2[0-3]):[0-5]\\d(:[0-5]\\d(\\.\\d{1,3})?)?Z)?)$",
    description: `An instant: ${instantForms}.`,
    examples: ["2026-03-02T09:15:00Z"]
  },
  [wholeNumberFormat]: { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
  [afterVersionFormat]: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
  [readTokenFormat]: {
    type: "string",
    pattern: "^[A-Za-z0-9_:-]{1,64}@[1-9]\\d{0,14}(,[A-Za-z0-9_:-]{1,64}@[1-9]\\d{0,14})*$",
    examples: ["alice@3"]
  },
  [webhookUrlFormat]: {
    type: "string",
    format: "uri",
    minLength: 1,
    maxLength: 2048,
    examples: ["https://shop.example/ledger"]
  },
  [pageLimitFormat]: { type: "integer", minimum: 1, maximum: pageRowsMax },
  [commandKeyFormat]: {
    type: "string",
    pattern: '^([A-Za-z0-9_:./@=+-]{1,128}|"[A-Za-z0-9_:./@=+-]{1,128}")$'
  },
  [entityTagFormat]: {
    type: "string",
    pattern: '^((0|[1-9]\\d{0,14})|"(0|[1-9]\\d{0,14})(;held=[1-9]\\d{0,37})?")$',
    examples: ['"3"']
  },
  [entityTagsFormat]: {
    type: "string",
    pattern: '^(\\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$',
    examples: ['"3"']
  }
}

const replaceFormats = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(replaceFormats)
  if (!isJson(value)) return value
  const known = typeof value.format === "string" ? schemasByFormat[value.format] : undefined
  if (known !== undefined)
    return { ...(value.description === undefined ? {} : { description: value.description }), ...known }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, replaceFormats(inner)]))
}

const description = `Chronicle Ledger over HTTP. Amounts are strings of whole minor units. Errors are problem documents (RFC 9457)
whose \`type\` ends in the tag of the error.`

/** `isGuarded`: whether this node asks for tokens. */
export const openApiDocument = (isGuarded: boolean): Json => {
  const document = replaceFormats(OpenApi.fromApi(LedgerHttpApi))
  if (!isJson(document) || !isJson(document.components) || !isJson(document.info))
    throw new Error("an OpenAPI document is an object")
  const { security: _, ...rest } = document
  return withGeneratorHints({
    ...rest,
    info: { ...document.info, description },
    ...(isGuarded ? { security: [{ bearer: [] }] } : {}),
    paths: withOperations(document.paths, (operation) => withHeaders(withoutOwnSecurity(operation))),
    components: {
      ...document.components,
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "A token, as `chronicle token` makes it." }
      }
    }
  })
}

/** A header that an answer always has. */
const header = (description: string, schema: Json = { type: "string" }): Json => ({
  description,
  required: true,
  schema
})

const retryAfter = {
  "retry-after": header("After so many seconds to come again.", { type: "integer", minimum: 1 })
}
const location = { location: header("Where the endpoint can be read.") }

/** Headers of problems: several of them have one status, of which a schema could name those of one alone. */
const headersByStatus: Readonly<Record<string, Json>> = {
  "401": { "www-authenticate": header("How a token is shown.", { type: "string", const: "Bearer" }) },
  "429": retryAfter,
  "503": retryAfter,
  "504": { link: header('Where the outcome of the command is told: `<path>; rel="status"`.') }
}
/** Headers of answers of which the command line, whose client is derived from the same schemas, takes the body alone. */
const headersByAnswer: Readonly<Record<string, Json>> = {
  "webhooks.createWebhook 201": location,
  "webhooks.rotateWebhook 200": location
}

const withHeaders = (operation: Json): Json => {
  const { operationId, responses } = operation
  if (!isJson(responses)) return operation
  const told = Object.entries(responses).map(([status, response]) => {
    const further = { ...headersByStatus[status], ...headersByAnswer[`${operationId} ${status}`] }
    if (!isJson(response) || Object.keys(further).length === 0) return [status, response]
    const headers = { ...(isJson(response.headers) ? response.headers : {}), ...further }
    return [status, { ...response, headers }]
  })
  return { ...operation, responses: Object.fromEntries(told) }
}

/** An operation with an empty list of its own would need no token. */
const withoutOwnSecurity = ({ security: _, ...operation }: Json): Json => operation

const withOperations = (paths: unknown, change: (operation: Json) => Json): unknown =>
  isJson(paths)
    ? Object.fromEntries(
        Object.entries(paths).map(([path, methods]) => [
          path,
          Object.fromEntries(
            Object.entries(isJson(methods) ? methods : {}).map(([method, operation]) => [
              method,
              isJson(operation) ? change(operation) : operation
            ])
          )
        ])
      )
    : paths
