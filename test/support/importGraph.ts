/**
 * What a file of the sources loads at once: the files it imports, those they import, and the packages named on the way.
 * Imports of types alone do not count, for nothing is loaded for them; nor do dynamic ones, which load later or never.
 */
import { readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { parseSync } from "vite"

export interface ImportGraph {
  /** Paths of our own files from the root, the entry included. */
  readonly files: ReadonlyArray<string>
  /** Names of packages and their parts, as they are imported: `effect`, `effect/rpc`, `node:fs`. */
  readonly packages: ReadonlyArray<string>
}

const importedBy = (path: string): ReadonlyArray<string> => {
  const { module, errors } = parseSync(path, readFileSync(path, "utf8"), { lang: "ts" })
  if (errors.length > 0) throw new Error(`${path} does not parse`)
  return [
    // An import without names is loaded for what it does.
    ...module.staticImports
      .filter(({ entries }) => entries.length === 0 || entries.some(({ isType }) => !isType))
      .map(({ moduleRequest }) => moduleRequest.value),
    ...module.staticExports.flatMap(({ entries }) =>
      entries.flatMap(({ moduleRequest, isType }) =>
        moduleRequest === null || isType ? [] : [moduleRequest.value]
      )
    )
  ]
}

export const importGraph = (entry: string): ImportGraph => {
  const files = new Set<string>()
  const packages = new Set<string>()
  const visit = (path: string): void => {
    if (files.has(path)) return
    files.add(path)
    if (!path.endsWith(".ts")) return
    for (const target of importedBy(path)) {
      if (target.startsWith(".")) visit(normalize(join(dirname(path), target)))
      else packages.add(target)
    }
  }
  visit(entry)
  return { files: [...files].toSorted(), packages: [...packages].toSorted() }
}
