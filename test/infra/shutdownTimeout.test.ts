/** The end of a layer is waited for up to a bound, and no longer. */
import { assert, it } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import { withShutdownTimeout } from "../../src/infra/cluster/ClusterRunner.ts"

class Tenant extends Context.Service<Tenant, { readonly name: string }>()("chronicle/test/Tenant") {}

/** A layer whose end needs as long as the effect that is given. */
const tenant = (leaving: Effect.Effect<void>) =>
  Layer.effect(
    Tenant,
    Effect.as(
      Effect.addFinalizer(() => leaving),
      { name: "tenant" }
    )
  )

const closing = Effect.fnUntraced(function* (leaving: Effect.Effect<void>) {
  const scope = yield* Scope.make()
  const context = yield* Layer.buildWithScope(
    withShutdownTimeout(tenant(leaving), 1_000, "the tenant"),
    scope
  )
  assert.strictEqual(Context.get(context, Tenant).name, "tenant")
  return yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
})

it.effect("waits for a layer that ends in time", () =>
  Effect.gen(function* () {
    let hasLeft = false
    const close = yield* closing(
      Effect.delay(
        Effect.sync(() => {
          hasLeft = true
        }),
        900
      )
    )
    yield* TestClock.adjust(899)
    assert.isUndefined(close.pollUnsafe())
    yield* TestClock.adjust(1)
    yield* Fiber.join(close)
    assert.isTrue(hasLeft)
  })
)

it.effect("leaves a layer to end in the background after the timeout", () =>
  Effect.gen(function* () {
    const close = yield* closing(Effect.never)
    yield* TestClock.adjust(999)
    assert.isUndefined(close.pollUnsafe())
    yield* TestClock.adjust(1)
    yield* Fiber.join(close)
  })
)

it.effect("leaves no timer behind a layer that ended in time, which would keep a process alive", () =>
  Effect.gen(function* () {
    const inner = yield* Clock.Clock
    let sleeping = 0
    const clock: Clock.Clock = {
      ...inner,
      sleep: (duration) =>
        Effect.suspend(() => {
          sleeping++
          return Effect.ensuring(
            inner.sleep(duration),
            Effect.sync(() => sleeping--)
          )
        })
    }
    const close = yield* Effect.provideService(closing(Effect.sleep(900)), Clock.Clock, clock)
    yield* TestClock.adjust(0)
    assert.strictEqual(sleeping, 2)
    yield* TestClock.adjust(900)
    yield* Fiber.join(close)
    assert.strictEqual(sleeping, 0)
  })
)
