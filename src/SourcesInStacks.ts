/**
 * Stack traces of bundled code that name the sources. Node's own support for source maps reads every map when its file is loaded, which
 * adds two fifths to what loading a node takes; this reads the map of a file when a stack trace first names that file.
 */
import { readFileSync } from "node:fs"
import { SourceMap } from "node:module"

const readMap = (file: string): SourceMap | undefined => {
  try {
    return new SourceMap(JSON.parse(readFileSync(new URL(`${file}.map`), "utf8")))
  } catch {
    // The bundle was deleted since: its own places are better than no stack trace.
    return undefined
  }
}

/** The first line of a stack trace as Node writes it: its own errors have their code there. */
const headOf = (error: Error): string => {
  const code = "code" in error ? error.code : undefined
  return typeof code === "string" && code.startsWith("ERR_")
    ? `${error.name} [${code}]: ${error.message}`
    : Error.prototype.toString.call(error)
}

/** From now on, stack traces of this thread name the sources in the place of the bundle's files in that folder. */
export const nameSourcesInStacks = (bundle: URL): void => {
  const maps = new Map<string, SourceMap | undefined>()
  const mapOf = (file: string): SourceMap | undefined => {
    if (!maps.has(file)) maps.set(file, readMap(file))
    return maps.get(file)
  }
  const lineOf = (frame: NodeJS.CallSite): string => {
    const text = String(frame)
    const file = frame.getFileName()
    const line = frame.getLineNumber()
    const column = frame.getColumnNumber()
    if (file === null || line === null || column === null || !file.startsWith(bundle.href)) return text
    const found = mapOf(file)?.findEntry(line - 1, column - 1)
    if (found === undefined || !("originalSource" in found)) return text
    const source = new URL(found.originalSource, file).href
    return text.replace(
      `${file}:${line}:${column}`,
      () => `${source}:${found.originalLine + 1}:${found.originalColumn + 1}`
    )
  }
  Error.prepareStackTrace = (error, frames) =>
    [headOf(error), ...frames.map((frame) => `    at ${lineOf(frame)}`)].join("\n")
}
