/**
 * Work that only one node of a cluster should do at a time: each partition of each projection, each reconciler, the
 * search for the unpublished tails of dead nodes. This file is the interface that the work is written against; which
 * node runs what is decided by `ClusterSingletons` in a cluster, and by the default below on a single node.
 */
import { Context, Effect, Option, Schema, type Scope } from "effect"

/** One piece of such work, with the status that its owner publishes for the nodes that do not run it. */
export interface Singleton<Status> {
  readonly name: string
  readonly encode: (status: Status) => string
  /** `undefined` for a text that this version of the program cannot read. The same text is decoded only once. */
  readonly decode: (text: string) => Status | undefined
}

export const makeSingleton = <Status>(
  name: string,
  schema: Schema.Codec<Status, string>
): Singleton<Status> => {
  const decode = Schema.decodeOption(schema)
  let last: { readonly text: string; readonly status: Status | undefined } | undefined
  return {
    name,
    encode: Schema.encodeSync(schema),
    decode: (text) => {
      if (last?.text !== text) last = { text, status: Option.getOrUndefined(decode(text)) }
      return last.status
    }
  }
}

/** Who runs one singleton. */
export interface SingletonState {
  readonly name: string
  /** The last reported owner; undefined when no node ever reported. */
  readonly node: string | undefined
  readonly isOwn: boolean
  /** Milliseconds since the owner's last report; 0 for our own. */
  readonly silentMs: number
  /** The last report is so old that no node can be running it. */
  readonly isUnowned: boolean
}

export interface SingletonHost {
  /**
   * Starts `life` whenever the singleton comes to this node, and interrupts it when the singleton goes. The next
   * owner starts after the finalizers of `life`, so these must be quick. Two nodes may run one singleton for a while,
   * which must do no harm. `needs`: where it can run, on nodes that take commands, or (default) on those with a read side.
   */
  readonly run: <R>(
    name: string,
    life: Effect.Effect<void, never, R>,
    needs?: "commands" | "read-side"
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /**
   * What does the work of a singleton of this node is away, or is back. While it is away this node does not report itself as
   * the one that runs it, so that another node stands in, or all nodes say in the end that none does; nor does it stand in itself.
   */
  readonly setAwayUnsafe: (name: string, isAway: boolean) => void
  /** Publishes the status to the other nodes. Ignored unless this node owns the singleton. */
  readonly publishUnsafe: <Status>(singleton: Singleton<Status>, status: Status) => void
  /** The status last published by any owner, as far as it was heard here. */
  readonly statusUnsafe: <Status>(singleton: Singleton<Status>) => Status | undefined
  /** All singletons of this program; none on a single node, which runs all of them. */
  readonly statesUnsafe: () => ReadonlyArray<SingletonState>
  /** Why the owners are not known at the moment. */
  readonly troubleUnsafe: () => string | undefined
}

/**
 * An optimisation, like `Placement`: correctness never depends on a singleton running only once. The default is a
 * single node, which runs everything at once.
 */
export const Singletons = Context.Reference<SingletonHost>("chronicle/actors/Singletons", {
  defaultValue: () => ({
    run: (_, life) => Effect.asVoid(Effect.forkScoped(Effect.scoped(life))),
    setAwayUnsafe: () => {},
    publishUnsafe: () => {},
    statusUnsafe: () => undefined,
    statesUnsafe: () => [],
    troubleUnsafe: () => undefined
  })
})
