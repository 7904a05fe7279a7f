/** Mixes commands that were sent before into those of a scenario, because callers send again what they are not sure of. */
import type { Command } from "../domain/Command.ts"
import type { Rng } from "./Rng.ts"

/** Commands that are remembered. A node keeps fewer outcomes in memory, so that it must find some repeats in the log. */
const rememberedMax = 150_000
/** Half of the repeats are of the last commands, up to this number, many of which are still under way. */
const recentMax = 2_000
/** The share of repeats that have another body, where the command was accepted: the ledger must refuse these. */
const changedShare = 0.02

/**
 * Answers `next`, but with probability `share` a command that it answered before: the same object, or, now and then,
 * what `changed` makes of it.
 */
export const withRepeats = (
  next: () => Command,
  share: number,
  rng: Rng,
  changed: (command: Command) => Command | undefined
): (() => Command) => {
  if (share === 0) return next
  const ring: Array<Command> = []
  let written = 0
  return () => {
    if (ring.length > 0 && rng.chance(share)) {
      const span = rng.chance(0.5) ? Math.min(recentMax, ring.length) : ring.length
      const repeated = ring[(written - 1 - rng.below(span) + rememberedMax) % rememberedMax]
      if (repeated !== undefined) {
        const other = rng.chance(changedShare) ? changed(repeated) : undefined
        return other ?? repeated
      }
    }
    const command = next()
    ring[written] = command
    written = (written + 1) % rememberedMax
    return command
  }
}
