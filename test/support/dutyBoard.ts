/** Nodes of one process enter; duties that the test gives them and takes from them, also twice, leave. */
import { Effect, Exit, Layer, Scope } from "effect"
import { type DutiesHere, Singletons } from "../../src/actors/relay/Singletons.ts"

interface Place {
  readonly begin: Effect.Effect<Scope.Closeable>
  running: Scope.Closeable | undefined
}

export class DutyBoard {
  /** What each node would do, by node and duty. */
  readonly #places = new Map<string, Place>()
  readonly #told = new Map<string, string>()
  /** Who has a duty from its beginning. */
  readonly #firstOwner: (duty: string) => string

  constructor(firstOwner: (duty: string) => string) {
    this.#firstOwner = firstOwner
  }

  /** The duties as the node sees them. */
  layer(node: string): Layer.Layer<never> {
    return Layer.succeed(Singletons, {
      run: (duty, life) =>
        Effect.gen({ self: this }, function* () {
          const context = yield* Effect.context<Effect.Services<typeof life>>()
          const begin = Effect.gen(function* () {
            const scope = yield* Scope.make()
            yield* Effect.forkIn(life, scope, { startImmediately: true }).pipe(
              Effect.provideService(Scope.Scope, scope),
              Effect.provideContext(context)
            )
            return scope
          })
          this.#places.set(`${node} ${duty}`, { begin, running: undefined })
          yield* Effect.addFinalizer(() => this.take(node, duty))
          if (this.#firstOwner(duty) === node) yield* this.give(node, duty)
        }),
      ownsUnsafe: (duty) => this.#places.get(`${node} ${duty}`)?.running !== undefined,
      tellUnsafe: (duty, found) => this.#told.set(duty, found),
      toldUnsafe: (duty) => this.#told.get(duty),
      statesUnsafe: () => [],
      troubleUnsafe: () => undefined
    } satisfies DutiesHere)
  }

  give(node: string, duty: string): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const place = this.#places.get(`${node} ${duty}`)
      if (place === undefined || place.running !== undefined) return
      place.running = yield* place.begin
    })
  }

  /** Answers when its life has ended. */
  take(node: string, duty: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const place = this.#places.get(`${node} ${duty}`)
      const running = place?.running
      if (place === undefined || running === undefined) return Effect.void
      place.running = undefined
      return Scope.close(running, Exit.void)
    })
  }

  move(duty: string, from: string, to: string): Effect.Effect<void> {
    return Effect.andThen(this.take(from, duty), this.give(to, duty))
  }
}
