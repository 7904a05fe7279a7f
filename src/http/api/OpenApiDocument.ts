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
    paths: withoutOwnSecurity(document.paths),
    components: {
      ...document.components,
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "A token, as `chronicle token` makes it." }
      }
    }
  })
}

/** An operation with an empty list of its own would need no token. */
const withoutOwnSecurity = (paths: unknown): unknown =>
  isJson(paths)
    ? Object.fromEntries(
        Object.entries(paths).map(([path, methods]) => [
          path,
          Object.fromEntries(
            Object.entries(isJson(methods) ? methods : {}).map(([method, operation]) => {
              if (!isJson(operation)) return [method, operation]
              const { security: _, ...rest } = operation
              return [method, rest]
            })
          )
        ])
      )
    : paths
