/** Refuses to load the library on a Node that is too old. Imported first, so that it is evaluated before the rest. */
import { nodeVersionFault } from "./NodeVersion.ts"

const fault = nodeVersionFault(process.versions.node)
if (fault !== undefined) throw new Error(fault)
