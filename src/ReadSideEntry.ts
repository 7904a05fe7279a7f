/** Which file the thread of the read side starts from. */
import { existsSync } from "node:fs"
import { bundle } from "./Bundle.ts"

/** This file is one of the package's modules, and not of the sources. */
const isPackage = import.meta.url.endsWith(".js")

/** Beside this file, in the sources as in the package. */
const ownEntry = new URL(isPackage ? "./readSideMain.js" : "./readSideMain.ts", import.meta.url)

/** Of the same code as this process: the bundle that it runs from, or that of its package. The sources of a working copy may be older or newer. */
const bundleHere = bundle ?? (isPackage ? new URL("./front/", import.meta.url) : undefined)

/**
 * That of the bundle, which loads in a third of the processor, where there is one and the host has no projections: each of them imports its
 * own effect, of which the bundle would be a second copy in the thread.
 */
export const entryOfReadSide = (projections: ReadonlyArray<string>, folder = bundleHere): URL => {
  if (folder === undefined || projections.length > 0) return ownEntry
  const entry = new URL("readSideMain.mjs", folder)
  // The caches of a working copy may be deleted while this process runs.
  return existsSync(entry) ? entry : ownEntry
}
