/** The priority of the thread of the read side among the threads of its machine, where the system has one a thread. */
import { readlinkSync } from "node:fs"
import { setPriority } from "node:os"
import { Effect } from "effect"

/**
 * Lets the thread that runs this give way, by so many steps of niceness (1 to 19), to threads that have more of a hurry. It matters where
 * there are fewer cores than threads with something to do: a command waits for its commit, the read side for a batch that may as
 * well be larger. Linux names the thread that asks, and has a priority for each; elsewhere, or where it is not allowed, nothing happens.
 */
export const giveWay = (niceness: number): Effect.Effect<void> =>
  Effect.ignore(
    Effect.try(() => {
      const thread = Number(readlinkSync("/proc/thread-self").split("/").at(-1))
      if (Number.isInteger(thread)) setPriority(thread, niceness)
    })
  )
