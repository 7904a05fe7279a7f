/**
 * The reference page: what the OpenAPI document says, as one page of HTML that is made here and needs no script, so that it works under
 * the strictest policy of contents.
 */
import { createHash } from "node:crypto"
import { Predicate } from "effect"
import { HttpServerResponse } from "effect/http"
import { problemList } from "../api/Problems.ts"

type Json = Readonly<Record<string, unknown>>
const isJson = (value: unknown): value is Json => Predicate.isObject(value) && !Array.isArray(value)
const entriesOf = (value: unknown): ReadonlyArray<[string, Json]> =>
  isJson(value) ? Object.entries(value).filter((entry): entry is [string, Json] => isJson(entry[1])) : []
const listOf = (value: unknown): ReadonlyArray<Json> => (Array.isArray(value) ? value.filter(isJson) : [])

const escapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;"
}
const escape = (value: unknown): string =>
  String(value ?? "").replaceAll(/[&<>"']/g, (char) => escapes[char] ?? "")

const style = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 0 auto; padding: 1rem }
code, pre { font: 0.9em/1.45 ui-monospace, monospace; overflow-wrap: anywhere }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: 4px }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent) }
h2 { margin-top: 2.5rem } h3 { margin-top: 2rem }
`
const styleHash = createHash("sha256").update(style).digest("base64")

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  rows.length === 0
    ? ""
    : `<table><thead><tr>${head.map((cell) => `<th scope="col">${cell}</th>`).join("")}</tr></thead><tbody>${rows
        .map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`)
        .join("")}</tbody></table>`

/** A schema in one line: the name of a component as a link, else its JSON. */
const schemaText = (schema: unknown): string => {
  if (!isJson(schema)) return ""
  const name = typeof schema.$ref === "string" ? schema.$ref.split("/").at(-1) : undefined
  if (name !== undefined) return `<a href="#schema-${escape(name)}">${escape(name)}</a>`
  if (Array.isArray(schema.anyOf)) return schema.anyOf.map(schemaText).join(" or ")
  const { description: _, examples: __, ...rest } = schema
  return `<code>${escape(JSON.stringify(rest))}</code>`
}

const contentText = (content: unknown): string =>
  entriesOf(content)
    .map(([type, media]) => `<code>${escape(type)}</code> ${schemaText(media.schema)}`)
    .join("<br>")

const operationHtml = (path: string, method: string, operation: Json): string => {
  const parameters = listOf(operation.parameters).map((one) => [
    `<code>${escape(one.name)}</code>${one.required === true ? " (required)" : ""}`,
    escape(one.in),
    `${schemaText(one.schema)} ${escape(isJson(one.schema) ? one.schema.description : "")}`
  ])
  const body = isJson(operation.requestBody) ? contentText(operation.requestBody.content) : ""
  const responses = entriesOf(operation.responses).map(([status, response]) => [
    `<code>${escape(status)}</code>`,
    contentText(response.content) || escape(response.description)
  ])
  return `<h3 id="${escape(operation.operationId)}"><code>${escape(method.toUpperCase())} ${escape(path)}</code></h3>
<p>${escape(operation.summary ?? operation.description)}</p>
${table(["parameter", "in", ""], parameters)}
${body === "" ? "" : `<p>Body: ${body}</p>`}
${table(["status", "answer"], responses)}`
}

const pageOf = (document: Json): string => {
  const info = isJson(document.info) ? document.info : {}
  const operations = entriesOf(document.paths).flatMap(([path, methods]) =>
    entriesOf(methods).map(([method, operation]) => operationHtml(path, method, operation))
  )
  const problems = problemList.map(({ tag, title, status }) => [
    `<span id="${escape(tag)}"><code>${escape(tag)}</code></span>`,
    `<code>${status}</code>`,
    escape(title)
  ])
  const schemas = entriesOf(isJson(document.components) ? document.components.schemas : {}).map(
    ([name, schema]) =>
      `<h3 id="schema-${escape(name)}">${escape(name)}</h3><pre>${escape(JSON.stringify(schema, null, 2))}</pre>`
  )
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(info.title)}</title><style>${style}</style></head><body>
<h1>${escape(info.title)}</h1><p>${escape(info.description)}</p>
<p>This page is made of <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>
<h2>Routes</h2>${operations.join("\n")}
<h2>Problems</h2>${table(["type ends in", "status", ""], problems)}
<h2>Schemas</h2>${schemas.join("\n")}
</body></html>`
}

export const referencePage = (document: Json): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.html(pageOf(document)).pipe(
    HttpServerResponse.setHeaders({
      "content-security-policy": `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      "cache-control": "no-cache"
    })
  )
