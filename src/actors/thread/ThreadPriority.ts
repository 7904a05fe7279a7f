/** The priority of the thread of the read side among the threads of its machine, where the system has one a thread. */
import { existsSync, readlinkSync } from "node:fs"
import { getPriority, setPriority } from "node:os"

/** Linux names the thread that asks there, and has a priority for each; elsewhere nothing happens. */
const own = "/proc/thread-self"

/**
 * Lets the thread that runs this give way, by so many steps of niceness (1 to 19), to threads that have more of a hurry. It matters where
 * there are fewer cores than threads with something to do: a command waits for its commit, the read side for a batch that may as
 * well be larger. A thread that gives way further already goes on so.
 */
export const giveWay = (niceness: number): void => {
  if (!existsSync(own)) return
  const thread = Number(readlinkSync(own).split("/").at(-1))
  if (Number.isInteger(thread) && getPriority(thread) < niceness) setPriority(thread, niceness)
}
