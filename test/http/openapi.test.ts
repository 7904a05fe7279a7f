/** The description that a node serves of itself is OpenAPI 3.1, as a validator that is not ours understands it. */
import { assert, layer } from "@effect/vitest"
import { Validator } from "@seriousme/openapi-schema-validator"
import { Effect } from "effect"
import {
  Indeterminate,
  NotYetVisible,
  Overloaded,
  Unauthenticated,
  Unavailable
} from "../../src/domain/Errors.ts"
import { problemResponse } from "../../src/http/server/Responses.ts"
import { memoryLedger } from "../support/callers.ts"
import { sendInMemory } from "../support/httpWorld.ts"

/** As far as the tests below look into it. */
interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly description?: string
  readonly parameters?: ReadonlyArray<{ readonly name: string; readonly in: string }>
  readonly responses: Readonly<Record<string, { readonly content?: object; readonly headers?: object }>>
}
type Schema = Readonly<Record<string, unknown>>
interface OpenApi {
  readonly openapi: string
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

layer(memoryLedger)("/openapi.json", (it) => {
  const fetched = Effect.gen(function* () {
    const send = yield* sendInMemory()
    const response = yield* Effect.promise(() => send("/openapi.json"))
    return (yield* Effect.promise(() => response.json())) as OpenApi // checked below
  }).pipe(Effect.scoped)

  it.effect("passes a validator, with every reference resolved", () =>
    Effect.gen(function* () {
      const document = yield* fetched
      assert.match(document.openapi, /^3\.1\./)
      const validator = new Validator()
      const { valid, errors } = yield* Effect.promise(() => validator.validate({ ...document }))
      assert.isTrue(valid, JSON.stringify(errors, null, 2))
      validator.resolveRefs()
      // It can fail: a document with a field that OpenAPI does not know is refused.
      const broken = yield* Effect.promise(() =>
        new Validator().validate({ ...document, paths: { "/v1": { get: 1 } } })
      )
      assert.isFalse(broken.valid)
    })
  )

  it.effect("names each operation once, says what it does and what it answers", () =>
    Effect.gen(function* () {
      const { paths } = yield* fetched
      const operations = Object.entries(paths).flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, operation]) => ({ ...operation, at: `${method} ${path}` }))
      )
      assert.isAbove(operations.length, 30)
      const ids = operations.map(({ operationId }) => operationId)
      assert.deepEqual(ids, [...new Set(ids)], "a generated client has a function for each")
      for (const { at, summary, description, responses } of operations) {
        assert.isAbove(`${summary ?? ""}${description ?? ""}`.length, 10, at)
        assert.isTrue(
          Object.keys(responses).some((status) => /^2\d\d$/.test(status)),
          at
        )
      }
    })
  )

  it.effect("tells the questions of one path apart by parameters that it takes", () =>
    Effect.gen(function* () {
      const { paths } = yield* fetched
      const operations = Object.values(paths).flatMap(({ get }) => (get === undefined ? [] : [get]))
      const shared = operations.filter(({ description }) => description?.startsWith("- "))
      assert.includeMembers(
        shared.map(({ operationId }) => operationId),
        ["queries.balance", "queries.trialBalance"]
      )
      for (const { description = "", operationId, parameters = [] } of shared) {
        const named = [...description.matchAll(/`(\w+)(?:=\w+)?`/g)].map(([, name = ""]) => name)
        const taken = parameters.filter((one) => one.in === "query").map(({ name }) => name)
        assert.includeMembers(taken, named, operationId)
      }
    })
  )

  it.effect("declares the headers of problems that say what to do, and where what was made can be read", () =>
    Effect.gen(function* () {
      const { paths } = yield* fetched
      const operations = Object.values(paths).flatMap((methods) => Object.values(methods))
      const problems = [
        new Unauthenticated({ reason: "no token" }),
        new Overloaded({ what: "this node", retryAfterMs: 1 }),
        new Unavailable({ what: "this node", reason: "it is closing" }),
        new NotYetVisible({ wanted: "a@2", reached: "a@1" }),
        new Indeterminate({ commandId: "c-1" })
      ].map(problemResponse)
      for (const { headers, status } of problems) {
        const own = Object.keys(headers).filter((name) => !/^(cache-control|content-.*)$/.test(name))
        const declared = operations.flatMap(({ responses }) => responses[status] ?? [])
        assert.isAbove(declared.length, 10)
        for (const answer of declared) assert.hasAllKeys(answer.headers ?? {}, own, String(status))
      }
      const made = paths["/v1/webhooks"]?.post?.responses["201"]
      const rotated = paths["/v1/webhooks/{webhook}/rotate"]?.post?.responses["200"]
      for (const answer of [made, rotated]) assert.hasAllKeys(answer?.headers ?? {}, ["location"])
    })
  )

  /** Every schema of the document, wherever it stands. */
  const schemasIn = (value: unknown): ReadonlyArray<Schema> => {
    if (typeof value !== "object" || value === null) return []
    const inner = Object.values(value).flatMap(schemasIn)
    return Array.isArray(value) ? inner : [value as Schema, ...inner] // an object has fields of any type
  }

  it.effect("has a name for whatever a generated client needs a type of, and none with a number", () =>
    Effect.gen(function* () {
      const { components } = yield* fetched
      const names = Object.keys(components.schemas)
      assert.includeMembers(names, [
        "Receipt",
        "Transfer",
        "TransferView",
        "Deposited",
        "DepositInGroup",
        "Balance"
      ])
      assert.deepEqual(
        names.filter((name) => /\d/.test(name)),
        []
      )
    })
  )

  it.effect("tells the members of each union of objects by a property", () =>
    Effect.gen(function* () {
      const document = yield* fetched
      const unions = schemasIn(document).filter(
        ({ anyOf }) => Array.isArray(anyOf) && anyOf.length > 1 && anyOf.every((member) => "$ref" in member)
      )
      const told = unions.filter(({ discriminator }) => discriminator !== undefined)
      assert.isAbove(told.length, 20)
      const [command] = told.filter(({ discriminator }) =>
        JSON.stringify(discriminator).includes("#/components/schemas/ReverseCommand")
      )
      assert.deepInclude(command?.discriminator, { propertyName: "_tag" })
      // The balances of one path are told by what was asked.
      for (const { anyOf, discriminator } of unions)
        if (discriminator === undefined) assert.match(JSON.stringify(anyOf), /Balance/)
    })
  )

  it.effect("says of integers beyond 32 bits that they need 64", () =>
    Effect.gen(function* () {
      const integers = schemasIn(yield* fetched).filter(
        ({ type, maximum }) => type === "integer" && Number(maximum) >= 2 ** 31
      )
      assert.isAbove(integers.length, 20)
      for (const { format } of integers) assert.strictEqual(format, "int64")
    })
  )
})
