/**
 * The entry of the command line. The program is loaded after the check of Node, because an old one may fail to load
 * it.
 */
import { nodeVersionFault } from "../NodeVersion.ts"

const fault = nodeVersionFault(process.versions.node)
if (fault === undefined) void import("./program.ts")
else {
  console.error(`chronicle: ${fault}`)
  process.exitCode = 1
}
