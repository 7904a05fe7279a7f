/** Singletons of several nodes in one process: the test gives each node its share, takes it away, or runs one twice. */
import { Effect, Exit, Layer, Scope } from "effect"
import { type SingletonHost, Singletons } from "../../src/actors/relay/Singletons.ts"

interface Place {
  readonly begin: Effect.Effect<Scope.Closeable>
  running: Scope.Closeable | undefined
}

export class SingletonsFake {
  /** What each node would run, by node and singleton. */
  readonly #places = new Map<string, Place>()
  readonly #published = new Map<string, string>()
  readonly #firstOwner: (name: string) => string

  /** `firstOwner` names the node that runs a singleton from its beginning. */
  constructor(firstOwner: (name: string) => string) {
    this.#firstOwner = firstOwner
  }

  /** The singletons as the node sees them. */
  layer(node: string): Layer.Layer<never> {
    return Layer.succeed(Singletons, {
      run: (name, life) =>
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
          this.#places.set(`${node} ${name}`, { begin, running: undefined })
          yield* Effect.addFinalizer(() => this.take(node, name))
          if (this.#firstOwner(name) === node) yield* this.give(node, name)
        }),
      setAwayUnsafe: () => {},
      publishUnsafe: ({ name, encode }, status) => {
        this.#published.set(name, encode(status))
      },
      statusUnsafe: ({ name, decode }) => {
        const text = this.#published.get(name)
        return text === undefined ? undefined : decode(text)
      },
      statesUnsafe: () => [],
      troubleUnsafe: () => undefined
    } satisfies SingletonHost)
  }

  give(node: string, name: string): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const place = this.#places.get(`${node} ${name}`)
      if (place === undefined || place.running !== undefined) return
      place.running = yield* place.begin
    })
  }

  /** Answers when its run has ended. */
  take(node: string, name: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const place = this.#places.get(`${node} ${name}`)
      const running = place?.running
      if (place === undefined || running === undefined) return Effect.void
      place.running = undefined
      return Scope.close(running, Exit.void)
    })
  }

  move(name: string, from: string, to: string): Effect.Effect<void> {
    return Effect.andThen(this.take(from, name), this.give(to, name))
  }
}
