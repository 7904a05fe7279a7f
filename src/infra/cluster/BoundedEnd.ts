/** A layer enters; the same, whose end is waited for only so long, leaves. */
import { Deferred, Effect, Layer, Scope } from "effect"

/**
 * For what is of another's making and only tidies up when it ends. It goes on in the background where it needs longer;
 * a process that was told to end ends nevertheless.
 */
export const withShutdownTimeout = <A, E, R>(layer: Layer.Layer<A, E, R>, endMs: number, what: string) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Effect.addFinalizer((exit) =>
        Effect.gen(function* () {
          const isOver = yield* Deferred.make<boolean>()
          // A finalizer cannot be interrupted, so a timeout around it would wait as long as it does.
          yield* Effect.forkDetach(
            Effect.ensuring(Scope.close(scope, exit), Deferred.succeed(isOver, true)),
            { startImmediately: true }
          )
          yield* Effect.forkDetach(Effect.delay(Deferred.succeed(isOver, false), endMs))
          if (!(yield* Deferred.await(isOver)))
            yield* Effect.logWarning(`${what} did not end within ${endMs} ms; it is left alone`)
        })
      )
      return yield* Layer.buildWithScope(layer, scope)
    })
  )
