/**
 * The entry of the command line. The program is loaded after the check of Node, because an old one may fail to load
 * it: its bundle, the front, which hands over to the sources what needs a module of the host; where there is none, the sources.
 */
// As a namespace: an old Node has no `enableCompileCache`, and would fail to link this file before it could say why.
import * as nodeModule from "node:module"
import { cacheFolder } from "../CacheFolder.ts"
import { nodeVersionFault } from "../NodeVersion.ts"
import { nameSourcesInStacks } from "../SourcesInStacks.ts"
import { findFront } from "./front.ts"

const runWhole = () => import("./program.ts").then(({ run }) => run())

const fault = nodeVersionFault(process.versions.node)
if (fault !== undefined) {
  console.error(`chronicle: ${fault}`)
  process.exitCode = 1
} else {
  nodeModule.enableCompileCache(cacheFolder)
  // The front is a bundle of `program.ts`.
  const load = (url: string): Promise<typeof import("./program.ts")> => import(url)
  void findFront().then((url) => {
    if (url === undefined) return runWhole()
    return load(url).then(({ run }) => {
      // Not before: while it loads, effect looks at traces of its own, which would have maps read.
      nameSourcesInStacks(new URL("./", url))
      run(() => void runWhole())
    })
  })
}
