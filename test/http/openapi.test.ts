/** The description that a node serves of itself is OpenAPI 3.1, as a validator that is not ours understands it. */
import { assert, layer } from "@effect/vitest"
import { Validator } from "@seriousme/openapi-schema-validator"
import { Effect } from "effect"
import { memoryLedger } from "../support/callers.ts"
import { sendInMemory } from "../support/httpWorld.ts"

/** As far as the tests below look into it. */
interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly description?: string
  readonly responses: Readonly<Record<string, { readonly content?: object }>>
}
interface OpenApi {
  readonly openapi: string
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
})
