/**
 * Streams whose items can be handed on in the turn in which they come. What a fiber keeps while it waits is made anew for each wait: with a
 * thousand readers it was most of what collections of the young heap copied, and to run their fibers cost about as much as to write what they sent.
 */
import { type Array as Arr, type Cause, Effect, type Scope, Stream } from "effect"

/** Answers whether it takes more at once. */
export type Take<A> = (items: Arr.NonEmptyReadonlyArray<A>) => boolean

export interface ItemSource<A, E = never> {
  /** The next items, however long it takes until there are some. Fails with `Done` where there are no more. */
  readonly next: Effect.Effect<Arr.NonEmptyReadonlyArray<A>, E | Cause.Done>
  /**
   * Gives `take` what comes from now on, and completes once it takes no more, or `next` has to be asked: at once where something waits there,
   * or items can be had by `next` alone.
   */
  readonly handOn: (take: Take<A>) => Effect.Effect<void>
}

/** What cannot be handed on. */
export const handOnNothing = (): Effect.Effect<void> => Effect.void

/** How each stream of this kind is opened; a stream that was made of one by an operator is another one. */
const opening = new WeakMap<object, Effect.Effect<ItemSource<unknown, unknown>, unknown, Scope.Scope>>()

/** The stream of a source, which is opened by each of its runs. */
export const streamOf = <A, E>(
  open: Effect.Effect<ItemSource<A, E>, E, Scope.Scope>
): Stream.Stream<A, E> => {
  const stream = Stream.unwrap(Effect.map(open, ({ next }) => Stream.fromPull(Effect.succeed(next))))
  opening.set(stream, open as Effect.Effect<ItemSource<unknown, unknown>, unknown, Scope.Scope>)
  return stream
}

/** The source of a stream, or of any other stream one that hands nothing on. */
export const openSource = <A, E>(
  stream: Stream.Stream<A, E>
): Effect.Effect<ItemSource<A, E>, E, Scope.Scope> => {
  const open = opening.get(stream) as Effect.Effect<ItemSource<A, E>, E, Scope.Scope> | undefined
  return open ?? Effect.map(Stream.toPull(stream), (next) => ({ next, handOn: handOnNothing }))
}

/** A stream that is found by an effect, as `Stream.unwrap` makes it. */
export const unwrapSource = <A, E>(
  stream: Effect.Effect<Stream.Stream<A, E>, E, Scope.Scope>
): Stream.Stream<A, E> => streamOf(Effect.flatMap(stream, openSource))
