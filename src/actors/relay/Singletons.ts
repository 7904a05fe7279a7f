/** Work that one node does for all enters by name; it runs where it belongs, and who has which of it leaves. */
import { Context, Effect, type Scope } from "effect"

export interface DutyState {
  readonly duty: string
  /** Who has it, as was heard last; undefined where nobody ever said so. */
  readonly node: string | undefined
  readonly isOwn: boolean
  /** Since its owner said so last, in milliseconds; 0 for our own. */
  readonly silentMs: number
  /** Silent for so long that nobody does it. */
  readonly isNobodys: boolean
}

export interface DutiesHere {
  /**
   * Begins the life whenever the duty comes to this node, and ends it when it goes: the next owner begins after its
   * finalizers, so they must be quick. Two nodes may have one duty for a while, which must do no harm.
   */
  readonly run: <R>(
    duty: string,
    life: Effect.Effect<void, never, R>
  ) => Effect.Effect<void, never, R | Scope.Scope>
  readonly ownsUnsafe: (duty: string) => boolean
  /** Tells those who do not have the duty what its owner found; a short text. */
  readonly tellUnsafe: (duty: string, found: string) => void
  /** What the owner of the duty told last, or the one before if it told nothing yet. */
  readonly toldUnsafe: (duty: string) => string | undefined
  /** Of all duties this program has; none on a node alone, whose they are all. */
  readonly statesUnsafe: () => ReadonlyArray<DutyState>
  /** Why it is not known who has what. */
  readonly troubleUnsafe: () => string | undefined
}

/**
 * Which node does what only one must do. An optimisation like `Placement`: whoever believes to have a duty may do it
 * beside others. The default is a node alone, which does everything at once.
 */
export const Singletons = Context.Reference<DutiesHere>("chronicle/actors/Duties", {
  defaultValue: () => ({
    run: (_, life) => Effect.asVoid(Effect.forkScoped(Effect.scoped(life))),
    ownsUnsafe: () => true,
    tellUnsafe: () => {},
    toldUnsafe: () => undefined,
    statesUnsafe: () => [],
    troubleUnsafe: () => undefined
  })
})
