/**
 * Bundles the console: its page, one script and one style sheet, named by their contents. A node of a working copy has it made when the
 * console is first asked for; `npm run build` writes it for the package, and so does the build of the image.
 *
 * Run: node scripts/bundleConsole.ts [DIRECTORY, default dist/console]
 */
import { createHash } from "node:crypto"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"

const root = join(import.meta.dirname, "..")
const sources = join(root, "src", "console")

/** The file with a name that changes with its contents, so that a browser may keep it for ever. */
const named = (name: string, extension: string, text: string): readonly [string, string] => [
  `${name}-${createHash("sha256").update(text).digest("hex").slice(0, 10)}.${extension}`,
  text
]

const bundleScript = async (): Promise<string> => {
  const bundle = await rolldown({
    input: join(sources, "main.tsx"),
    platform: "browser",
    tsconfig: join(sources, "tsconfig.json")
  })
  const { output } = await bundle.generate({ format: "esm", minify: true })
  await bundle.close()
  const [script, ...others] = output
  if (others.length > 0) throw new Error("the console must be one script")
  return script.code
}

/** The style sheet without what a browser does not read. */
const bundleStyle = (): string =>
  [join(root, "node_modules", "uplot", "dist", "uPlot.min.css"), join(sources, "console.css")]
    .map((path) => readFileSync(path, "utf8"))
    .join("\n")
    .replaceAll(/\/\*[\s\S]*?\*\//g, "")
    .replaceAll(/\s*\n\s*/g, "\n")

/** The files of the console by name. */
export const bundleConsole = async (): Promise<ReadonlyMap<string, string>> => {
  const script = named("console", "js", await bundleScript())
  const style = named("console", "css", bundleStyle())
  const icon = named("icon", "svg", readFileSync(join(sources, "icon.svg"), "utf8"))
  const page = readFileSync(join(sources, "index.html"), "utf8")
    .replace("console.js", script[0])
    .replace("console.css", style[0])
    .replace("icon.svg", icon[0])
  return new Map([["index.html", page], script, style, icon])
}

if (import.meta.main) {
  const folder = process.argv[2] ?? join(root, "dist", "console")
  mkdirSync(folder, { recursive: true })
  const files = await bundleConsole()
  for (const [name, text] of files) writeFileSync(join(folder, name), text)
  const bytes = [...files.values()].reduce((sum, text) => sum + gzipSync(text).length, 0)
  console.log(`the console: ${files.size} files, ${(bytes / 1_000).toFixed(1)} kB compressed`)
}
