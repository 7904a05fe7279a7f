/**
 * Finds the front: the command line and the thread of the read side, bundled into some thirty files, of which `--help` loads three in a tenth of
 * a second and a node fifteen. The package brings it along, and so does the image. In a working copy it is a cache by the state of the sources:
 * made when a command runs after a change, and never needed, for the sources do the same in a second.
 */
import { createHash } from "node:crypto"
import { existsSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { cacheFolder } from "../CacheFolder.ts"

/** The package: `src/cli` and `dist/cli` are equally deep in it. */
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..")
const isWorkingCopy = import.meta.url.endsWith(".ts") && existsSync(join(root, "node_modules", "rolldown"))

/** Changes with every file of the sources, with the packages that are bundled, and with how they are. */
const stateOfSources = (): string => {
  const hash = createHash("sha256")
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => join("src", path))
  for (const path of [
    "package.json",
    "package-lock.json",
    join("scripts", "front.ts"),
    ...sources.toSorted()
  ]) {
    const { mtimeMs, size } = statSync(join(root, path))
    hash.update(`${path} ${mtimeMs} ${size}\n`)
  }
  return hash.digest("hex").slice(0, 16)
}

/** A front is deleted when no process has run from it for as long: one that does renews it, and may load parts of it later. */
const keptMs = 3_600_000

const removeOldFronts = (except: string): void => {
  const now = statSync(except).mtimeMs
  for (const name of readdirSync(cacheFolder)) {
    const folder = join(cacheFolder, name)
    if (name.startsWith("front-") && now - statSync(folder).mtimeMs > keptMs)
      rmSync(folder, { recursive: true })
  }
}

/** For as long as this process runs. */
const keep = (folder: string): void => {
  const renew = () => {
    try {
      const now = new Date()
      utimesSync(folder, now, now)
    } catch {
      // Deleted by hand, or not to be written: then the sources start the next thread.
    }
  }
  renew()
  setInterval(renew, keptMs / 4).unref()
}

interface Bundler {
  readonly bundleFront: (sources: string, outDir: string) => Promise<void>
}

const frontOfSources = async (): Promise<string> => {
  const folder = join(cacheFolder, `front-${stateOfSources()}`)
  if (!existsSync(folder)) {
    // By its path, for the package does not contain it.
    const bundler: Bundler = await import(pathToFileURL(join(root, "scripts", "front.ts")).href)
    const unfinished = `${folder}-${process.pid}`
    await bundler.bundleFront(join(root, "src"), unfinished)
    // Whole or not at all; where another process was faster, its front is the same.
    if (existsSync(folder)) rmSync(unfinished, { recursive: true })
    else renameSync(unfinished, folder)
    removeOldFronts(folder)
  }
  keep(folder)
  return join(folder, "front.mjs")
}

/** The front as something to import; undefined where there is none and none can be made. */
export const findFront = async (): Promise<string | undefined> => {
  const packed = join(root, "dist", "front", "front.mjs")
  if (!isWorkingCopy) return existsSync(packed) ? pathToFileURL(packed).href : undefined
  try {
    return pathToFileURL(await frontOfSources()).href
  } catch {
    // A folder that cannot be written, or sources that do not parse: these will say so themselves.
    return undefined
  }
}
