/**
 * Where the package keeps what can be made again: V8's compiled code, sources without their types, and the fronts of a working copy. Below
 * `node_modules`, where only those can write who could change the program itself.
 */
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/** The package: `src` and `dist` are equally deep in it. */
const root = join(dirname(fileURLToPath(import.meta.url)), "..")

/** The innermost `node_modules` around the package, or its own. */
const modules = /^.*[\\/]node_modules(?=[\\/])/.exec(root)?.[0] ?? join(root, "node_modules")

export const cacheFolder = join(modules, ".cache", "chronicle-ledger")
