/** The garbage collector of the process that a node runs in. */
import { setFlagsFromString } from "node:v8"

/**
 * Tells V8, for the whole process, not to make objects in the old heap from the start where those of the same line
 * of code outlived a few collections: while a node fills its memory with accounts all of them do, and what is taken for
 * long-lived then is never looked at again. From there on short-lived objects are born old, and each keeps what it
 * refers to alive through all collections of the young heap: measured, that doubled what those had to copy. To be
 * called before the work begins; the command line does. A host may do so too, or start `node` with this option.
 */
export const tuneCollector = (): void => setFlagsFromString("--no-allocation-site-pretenuring")
