/** The garbage collector of the process that a node runs in. */
import { availableParallelism } from "node:os"
import { setFlagsFromString } from "node:v8"

/**
 * Tells V8, for the whole process, two things. To be called before the work begins; the command line does. A host may do so
 * too, or start `node` with these options.
 *
 * Not to make objects in the old heap from the start where those of the same line of code outlived a few collections: while a
 * node fills its memory with accounts all of them do, and what is taken for long-lived then is never looked at again. From there
 * on short-lived objects are born old, and each keeps what it refers to alive through all collections of the young heap:
 * measured, that doubled what those had to copy.
 *
 * To mark with no more helpers than there are cores beside the thread that collects. All threads of a process share four of
 * them: where the heap of the read side fills up, they took both of two cores from the thread of the commands.
 */
export const tuneCollector = (): void => {
  setFlagsFromString("--no-allocation-site-pretenuring")
  setFlagsFromString(`--concurrent-marking-max-worker-num=${Math.max(1, availableParallelism() - 1)}`)
}
