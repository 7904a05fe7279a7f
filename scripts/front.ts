/**
 * Bundles the front: the command line and the thread of the read side, with effect, in some thirty files. Node takes a second of processor to
 * find, read and link the thousand files of a node; for the bundle, of which V8 keeps the compiled code, a quarter of that. `src/cli/front.ts`
 * runs this in a working copy whenever its sources have changed, `npm run build` for the package, the Dockerfile for the image.
 *
 * Run: node scripts/front.ts [src, for an image that has the sources; default dist, as in the package]
 */
import { mkdirSync, readdirSync, realpathSync, writeFileSync } from "node:fs"
import { join, relative, sep } from "node:path"
import { type Plugin, type PluginContext, rolldown } from "rolldown"

/** Everything else is left as it is and loaded where it is needed. */
const isBundled = (id: string): boolean =>
  /^(\.|\/|[A-Za-z]:|\0)/.test(id) || /^(effect|@effect\/(platform-node(-shared)?|sql-pg))(\/|$)/.test(id)

/**
 * The files of the bundle besides those of single commands, in this order: a module is in the first part that it belongs to. Modules import
 * only modules of their own part or of one before it, because a part is everything that its entries load, less the parts before it.
 */
const partNames = [
  "thread",
  "core",
  "program",
  "wire",
  "remote",
  "readSide",
  "later",
  "access",
  "node",
  "servers"
] as const
type Part = (typeof partNames)[number]

/** The part of each module that is loaded for more than one command. */
const partsOf = ({ getModuleInfo }: PluginContext, sources: string): ReadonlyMap<string, Part> => {
  const loadedBy = (...entries: ReadonlyArray<string>): ReadonlySet<string> => {
    const found = new Set<string>()
    const waiting = entries.flatMap((id) => getModuleInfo(id)?.importedIds ?? [])
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      if (found.has(id)) continue
      found.add(id)
      waiting.push(...(getModuleInfo(id)?.importedIds ?? []))
    }
    return found
  }
  const remoteFolder = join(sources, "cli", "remote")
  const program = loadedBy(join(sources, "cli", "program.ts"))
  const remote = loadedBy(...readdirSync(remoteFolder).map((name) => join(remoteFolder, name)))
  const readSide = loadedBy(join(sources, "readSideLife.ts"))
  const sharedWithReadSide = (ids: ReadonlySet<string>) => new Set([...ids].filter((id) => readSide.has(id)))
  const later = [...readSide].flatMap((id) => getModuleInfo(id)?.dynamicallyImportedIds ?? [])
  const modules: Readonly<Record<Part, ReadonlySet<string>>> = {
    // What the thread loads before it gives way.
    thread: loadedBy(join(sources, "readSideMain.ts")),
    core: sharedWithReadSide(program),
    program,
    wire: sharedWithReadSide(remote),
    remote,
    readSide,
    // Clients of HTTP and the exporter of traces, which the thread may never need.
    later: loadedBy(...later, join(sources, "infra", "telemetry", "Telemetry.ts")),
    access: loadedBy(join(sources, "cli", "run", "token.ts")),
    node: loadedBy(join(sources, "cli", "run", "onStores.ts")),
    servers: loadedBy(join(sources, "cli", "run", "servers.ts"))
  }
  // A module that stands in several parts is set last by the first of them.
  return new Map(
    partNames.toReversed().flatMap((name) => [...modules[name]].map((id) => [id, name] as const))
  )
}

const unbundled = "bundle: URL | undefined = undefined"

/** Bundled code finds files by the place of its source, and knows that it is bundled. */
const placesOfSources = (sources: string, outDir: string, places: "src" | "dist"): Plugin => ({
  name: "places of sources",
  transform: {
    filter: { id: /\.ts$/, code: /import\.meta\.url|export const bundle\b/ },
    handler: (code, id) => {
      // No line is added, and a column may be off after what is put in: the map goes by the lines.
      if (id === join(sources, "Bundle.ts")) {
        if (!code.includes(unbundled)) throw new Error(`${id} does not say: ${unbundled}`)
        return { code: code.replace(unbundled, `bundle = new URL("./", import.meta.url)`), map: null }
      }
      const file = join(sources, "..", places, relative(sources, id))
      const path = relative(outDir, places === "src" ? file : file.replace(/\.ts$/, ".js"))
      const url = JSON.stringify(path.replaceAll(sep, "/"))
      return { code: code.replaceAll("import.meta.url", `new URL(${url}, import.meta.url).href`), map: null }
    }
  }
})

const base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/** The numbers of one segment of a source map: groups of five bits, the lowest first, the sign in the lowest bit of all. */
const numbersOf = (segment: string): ReadonlyArray<number> => {
  const numbers: Array<number> = []
  let value = 0
  let shift = 0
  for (const character of segment) {
    const digit = base64.indexOf(character)
    value |= (digit & 31) << shift
    shift += 5
    if (digit & 32) continue
    numbers.push(value & 1 ? -(value >> 1) : value >> 1)
    value = 0
    shift = 0
  }
  return numbers
}

const segmentOf = (numbers: ReadonlyArray<number>): string =>
  numbers
    .map((number) => {
      let text = ""
      let rest = number < 0 ? (-number << 1) | 1 : number << 1
      do {
        const digit = rest & 31
        rest >>= 5
        text += base64.charAt(rest > 0 ? digit | 32 : digit)
      } while (rest > 0)
      return text
    })
    .join("")

/**
 * The mappings of a source map with a segment where the line of the source changes, not for each name: a stack trace needs no more, and reads
 * a fifth of it. All numbers are differences: of the column in the bundle from the segment before in its line, of the others from the segment before.
 */
export const byLines = (mappings: string): string => {
  const read = { source: 0, line: 0, column: 0 }
  let written = { ...read }
  return mappings
    .split(";")
    .map((segments) => {
      const kept: Array<string> = []
      let at = 0
      let writtenAt = 0
      let last = ""
      for (const segment of segments.split(",")) {
        const [bundled = 0, source, line = 0, column = 0] = numbersOf(segment)
        at += bundled
        if (source === undefined) continue
        read.source += source
        read.line += line
        read.column += column
        const place = `${read.source}:${read.line}`
        if (place === last) continue
        last = place
        kept.push(
          segmentOf([
            at - writtenAt,
            read.source - written.source,
            read.line - written.line,
            read.column - written.column
          ])
        )
        writtenAt = at
        written = { ...read }
      }
      return kept.join(",")
    })
    .join(";")
}

/**
 * Writes the front into `outDir`: `front.mjs` to begin with, and `readSideMain.mjs`, the entry of the thread. `places` is where the files are
 * whose places the bundled code goes by: the sources, or what the package has of them.
 */
export const bundleFront = async (
  sources: string,
  outDir: string,
  places: "src" | "dist" = "src"
): Promise<void> => {
  mkdirSync(outDir, { recursive: true })
  const from = realpathSync(sources)
  const to = realpathSync(outDir)
  let parts: ReadonlyMap<string, Part> = new Map()
  const bundle = await rolldown({
    input: { front: join(from, "cli", "program.ts"), readSideMain: join(from, "readSideMain.ts") },
    platform: "node",
    external: (id) => !isBundled(id),
    plugins: [
      placesOfSources(from, to, places),
      {
        name: "parts",
        buildEnd() {
          parts = partsOf(this, from)
        }
      }
    ]
  })
  const { output } = await bundle.generate({
    dir: to,
    format: "esm",
    entryFileNames: "[name].mjs",
    chunkFileNames: "[name]-[hash].mjs",
    codeSplitting: {
      groups: partNames.map((name, index) => ({
        name,
        test: (id) => parts.get(id) === name,
        priority: partNames.length - index
      }))
    },
    comments: false,
    // Names and lines stay: a profile and a stack trace are read by people.
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: false } },
    sourcemap: true
  })
  await bundle.close()
  for (const file of output) {
    if (file.type !== "chunk") continue
    writeFileSync(join(to, file.fileName), file.code)
    if (file.map === null) continue
    const { sources, mappings } = file.map
    const map = { version: 3, sources, names: [], mappings: byLines(mappings) }
    writeFileSync(join(to, `${file.fileName}.map`), JSON.stringify(map))
  }
}

if (import.meta.main) {
  const root = join(import.meta.dirname, "..")
  await bundleFront(
    join(root, "src"),
    join(root, "dist", "front"),
    process.argv[2] === "src" ? "src" : "dist"
  )
}
