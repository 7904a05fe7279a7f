/** The front of the command line: few files, the same answers as the sources, nothing of them in its process, and places and traces of theirs. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { SourceMap } from "node:module"
import { tmpdir } from "node:os"
import { join, relative, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { bundleFront, byLines } from "../../scripts/front.ts"
import { cacheFolder } from "../../src/CacheFolder.ts"
import { entryOfReadSide } from "../../src/ReadSideEntry.ts"

let folder = ""
/** Runs a module's `run`, and tells on stderr's last line which files were loaded for it. */
const runner = () => join(folder, "runner.mjs")

beforeAll(async () => {
  // Where the cache of a working copy is: from there, packages are found that are not bundled.
  mkdirSync(cacheFolder, { recursive: true })
  folder = mkdtempSync(join(cacheFolder, "test-"))
  await bundleFront(resolve("src"), folder)
  writeFileSync(
    runner(),
    `import { registerHooks } from "node:module"
const [url] = process.argv.splice(2, 1)
const loaded = []
registerHooks({ load: (id, context, next) => { if (!id.startsWith("node:")) loaded.push(id); return next(id, context) } })
process.on("exit", () => console.error("loaded " + loaded.join(" ")))
const { run } = await import(url)
run(() => console.error("handed over"))
`
  )
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** No service and no node is named, and none is found. */
const environment = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("CHRONICLE_"))),
  NO_COLOR: "1"
}
const nowhere = { CHRONICLE_RPC_URL: "tcp://127.0.0.1:1" }

const runWith = (module: string, args: ReadonlyArray<string>, env: Readonly<Record<string, string>>) => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [runner(), pathToFileURL(module).href, ...args],
    { encoding: "utf8", env: { ...environment, ...env } }
  )
  const [said = "", loaded = ""] = stderr.split(/loaded (.*)\n$/)
  return { status, stdout, said, loaded: loaded.split(" ") }
}
const runFront = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = nowhere) =>
  runWith(join(folder, "front.mjs"), args, env)
const runSources = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = nowhere) =>
  runWith(resolve("src/cli/program.ts"), args, env)

const filesOf = (extension: string) => readdirSync(folder).filter((name) => name.endsWith(extension))
const textOf = (name: string) => readFileSync(join(folder, name), "utf8")

/** The files of the bundle that one of them loads at once, itself included. */
const loadedAtOnce = (name: string): ReadonlyArray<string> => {
  const found = new Set<string>()
  const visit = (file: string): void => {
    if (found.has(file)) return
    found.add(file)
    for (const [, next] of textOf(file).matchAll(/^(?:import|export) (?:[^"]*from )?"\.\/([^"]+)";$/gm))
      visit(next ?? "")
  }
  visit(name)
  return [...found]
}

describe("the front of the command line", () => {
  it.each([
    [["--help"], 0],
    [["--version"], 0],
    [["statement", "--help"], 0],
    [["balance"], 2],
    [["nonsense"], 2],
    [["deposit", "alice", "much"], 2]
  ] as const)("answers %j as the sources do, from at most 4 files", (args, code) => {
    const { loaded, ...front } = runFront(args)
    const sources = runSources(args)
    assert.deepEqual(front, { status: sources.status, stdout: sources.stdout, said: sources.said })
    assert.strictEqual(front.status, code)
    assert.isAtMost(loaded.length, 4)
    assert.isAtMost(sources.loaded.length, 400)
  })

  it("reaches for a node by itself, from at most 8 files", () => {
    const { status, said, loaded } = runFront(["deposit", "alice", "1 USD/2"])
    assert.strictEqual(status, 1)
    assert.match(said, /ECONNREFUSED/)
    assert.isAtMost(loaded.length, 8)
  })

  it.each([["serve"], ["migrate"], ["balance", "alice"], ["rebuild", "books"], ["parked"]])(
    "runs %s without a file of the sources",
    (...args) => {
      // Nothing says where the stores are: that is found out after all was loaded.
      const { loaded, ...front } = runFront(args, { CHRONICLE_RPC_PORT: "1" })
      const sources = runSources(args, { CHRONICLE_RPC_PORT: "1" })
      assert.deepEqual(front, { status: sources.status, stdout: sources.stdout, said: sources.said })
      assert.strictEqual(front.status, 2)
      assert.match(front.said, /CHRONICLE_/)
      assert.deepEqual(
        loaded.filter((url) => url.startsWith(pathToFileURL(resolve("src")).href)),
        []
      )
      assert.deepEqual(
        loaded.filter((url) => /node_modules\/(@effect|effect)\//.test(url)),
        []
      )
    }
  )

  it("hands a rebuild with a module of the host over to the sources without a word", () => {
    const { stdout, said } = runFront([
      "rebuild",
      "monthly_totals",
      "--module",
      "examples/monthly-totals/projection.ts"
    ])
    assert.deepEqual({ stdout, said }, { stdout: "", said: "handed over\n" })
  })

  it("reads no map of the sources where nothing fails", () => {
    const preload = `import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
const { readFileSync } = fs
fs.readFileSync = (path, ...rest) => { if (String(path).endsWith(".map")) console.error("map read"); return readFileSync(path, ...rest) }
syncBuiltinESMExports()`
    const { status, stderr } = spawnSync(
      process.execPath,
      ["--import", `data:text/javascript,${encodeURIComponent(preload)}`, "src/cli/main.ts", "--version"],
      { encoding: "utf8", env: environment }
    )
    assert.deepEqual({ status, stderr }, { status: 0, stderr: "" })
  })

  it("names the files of the sources in a stack trace", () => {
    const preload = `import crypto from "node:crypto"
import { syncBuiltinESMExports } from "node:module"
const { hash } = crypto
crypto.hash = (kind, data, coding) => { if (typeof data === "string" && data.length === 43) throw new TypeError("no hashes here"); return hash(kind, data, coding) }
syncBuiltinESMExports()`
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        "--import",
        `data:text/javascript,${encodeURIComponent(preload)}`,
        "src/cli/main.ts",
        "token",
        "till",
        "--scope",
        "read"
      ],
      { encoding: "utf8", env: environment }
    )
    const source = resolve("src/access/Tokens.ts")
    const line = readFileSync(source, "utf8")
      .split("\n")
      .findIndex((text) => text.includes('hash("sha256", token'))
    assert.strictEqual(status, 1)
    assert.match(stderr, /^TypeError: no hashes here$/m)
    assert.include(stderr, `at hashToken (${pathToFileURL(source).href}:${line + 1}:`)
    assert.match(stderr, /src\/cli\/run\/token\.ts:\d+:\d+/)
    assert.notMatch(stderr, /front-|\.mjs/)
  })
})

describe("the thread of the read side", () => {
  it("loads nothing of the bundle before it gives way", () => {
    const loaded = loadedAtOnce("readSideMain.mjs").map((name) => join(folder, name))
    assert.isAtMost(loaded.length, 2)
    const bytes = loaded.reduce((sum, path) => sum + readFileSync(path).length, 0)
    assert.isAtMost(bytes, 8_000)
  })

  it("loads no door of a node from it", () => {
    const [life = assert.fail("there is no such file")] = filesOf(".mjs").filter((name) =>
      name.startsWith("readSideLife-")
    )
    const names = loadedAtOnce(life).map((name) => name.replace(/-[\w-]{8}\.mjs$/, ""))
    assert.isAtMost(names.length, 6)
    for (const other of ["node", "servers", "remote", "program", "later"]) assert.notInclude(names, other)
  })

  it("starts from a bundle where there is one and the host has no projections", () => {
    const bundle = pathToFileURL(`${folder}/`)
    const sources = pathToFileURL(resolve("src/readSideMain.ts")).href
    assert.strictEqual(entryOfReadSide([], bundle).href, new URL("readSideMain.mjs", bundle).href)
    assert.strictEqual(entryOfReadSide(["/host/projection.js"], bundle).href, sources)
    assert.strictEqual(entryOfReadSide([], new URL("deleted/", bundle)).href, sources)
    // A process of the sources: what is bundled may be of others.
    assert.strictEqual(entryOfReadSide([]).href, sources)
  })
})

describe("a file of the bundle", () => {
  const placesIn = (where: string) =>
    readdirSync(where)
      .filter((name) => name.endsWith(".mjs"))
      .flatMap((name) => [
        ...readFileSync(join(where, name), "utf8").matchAll(
          /new URL\("(\.[^"]+)", import\.meta\.url\)\.href/g
        )
      ])
      .map(([, path = ""]) => fileURLToPath(new URL(path, pathToFileURL(`${where}/`))))

  it("goes by the places of the sources", () => {
    const places = placesIn(folder)
    assert.isAtLeast(places.length, 6)
    for (const path of places) assert.isTrue(existsSync(path), path)
    assert.include(places, resolve("src/infra/postgres/Migrations.ts"))
    assert.include(places, resolve("src/http/ConsoleFiles.ts"))
    assert.include(places, resolve("src/cli/run/demo.ts"))
  })

  it("goes by the places of the package's modules there", async () => {
    const built = mkdtempSync(join(tmpdir(), "chronicle-front-"))
    try {
      await bundleFront(resolve("src"), built, "dist")
      const places = placesIn(built).map((path) => relative(resolve("."), path))
      assert.include(places, join("dist", "infra", "postgres", "Migrations.js"))
      for (const path of places) {
        const source = path.replace(/^dist/, "src").replace(/\.js$/, ".ts")
        assert.isTrue(path.startsWith("dist") && existsSync(source), path)
      }
    } finally {
      rmSync(built, { recursive: true, force: true })
    }
  })

  it("has a map to lines of files that exist", () => {
    for (const name of filesOf(".map")) {
      const map = JSON.parse(textOf(name))
      assert.isUndefined(map.sourcesContent)
      for (const source of map.sources) {
        const path = fileURLToPath(new URL(source, pathToFileURL(join(folder, name))))
        // What the bundler adds is of no file.
        if (!source.includes("\0")) assert.isTrue(existsSync(path), path)
      }
    }
  })
})

describe("the map of a stack trace", () => {
  it("keeps where the line of the source changes", () => {
    // Three names of line 1, two of line 2 in one line of the bundle; then a line without a source, and one of another file.
    const mappings = "AAAA,IAAIA,MACJ,EAAI;;ACAJ"
    const kept = byLines(mappings)
    const at = (text: string, line: number, column: number) =>
      new SourceMap({
        version: 3,
        file: "",
        sources: ["a", "b"],
        names: ["n"],
        mappings: text,
        sourcesContent: [],
        sourceRoot: ""
      }).findEntry(line, column)
    assert.isBelow(kept.length, mappings.length)
    for (const [line, column] of [
      [0, 0],
      [0, 10],
      [2, 0]
    ] as const) {
      const { originalSource, originalLine } = {
        originalSource: "",
        originalLine: -1,
        ...at(mappings, line, column)
      }
      assert.deepInclude(at(kept, line, column), { originalSource, originalLine })
    }
  })
})
