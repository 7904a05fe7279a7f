/**
 * Measures the structure of the sources, so that what a reader stumbles over is a number that a test can hold: imports
 * that run back up between folders, long definitions, exports and files that nothing uses, and state of a command, an
 * account or a batch that is written outside of its home. Prints a table; `test/tidy.test.ts` compares the numbers.
 *
 * Run: npm run structure
 */
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { pathToFileURL } from "node:url"
import { parseSync } from "vite"

export interface File {
  readonly path: string
  readonly text: string
}

/** A place in the sources, and what was found there. */
export interface Finding {
  readonly path: string
  readonly line: number
  readonly what: string
  /** The definition that is meant, where one is. */
  readonly name?: string
}

/** The lines from which on a definition counts as long. */
export const longLines = 70

/**
 * The floors of the house, lowest first. A folder may import what stands before it, and itself. `src/actors`,
 * `src/infra` and `src/rpc` have floors of their own, since each is a way that is walked in one direction.
 */
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  ["src/domain"],
  ["src/console"],
  ["src/infra/config"],
  ["src/infra/sockets"],
  ["src/infra/telemetry"],
  ["src/infra/postgres"],
  ["src/infra/eventstore"],
  ["src/infra/bus"],
  ["src/infra/readmodel"],
  ["src/infra/webhooks"],
  ["src/infra/cluster"],
  ["src/infra/dev"],
  ["src/actors/accounts"],
  ["src/actors/commit"],
  ["src/actors/commands"],
  ["src/actors/relay"],
  ["src/actors/projections"],
  ["src/actors/thread"],
  ["src/actors/subscriptions"],
  ["src/actors/past"],
  ["src/actors/notices"],
  ["src/actors/audit"],
  ["src/actors/webhooks"],
  ["src/actors/cluster"],
  ["src"],
  ["src/access"],
  ["src/rpc"],
  ["src/rpc/client", "src/rpc/server", "src/http"],
  ["src/loadtest"],
  ["src/cli"]
]

/** Files that stand alone on the roof: they may import everything. */
const roofs = new Set(["src/index.ts", "src/client.ts", "src/testing.ts"])

const floorOf = (path: string): number => {
  if (roofs.has(path)) return floors.length
  let folder = dirname(path)
  for (;;) {
    const floor = floors.findIndex((names) => names.includes(folder))
    if (floor >= 0 || !folder.includes("/")) return floor
    folder = dirname(folder)
  }
}

const folderOf = (path: string): string => {
  let folder = dirname(path)
  while (folder.includes("/") && !floors.some((names) => names.includes(folder))) folder = dirname(folder)
  return folder
}

const isSource = (path: string) => path.startsWith("src/")

interface Node {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [key: string]: unknown
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"

const childrenOf = (node: Node): ReadonlyArray<Node> =>
  Object.values(node).flatMap((value) =>
    Array.isArray(value) ? value.filter(isNode) : isNode(value) ? [value] : []
  )

/** Every node below `node`, itself included, outer before inner. */
function* walk(node: Node): Generator<Node> {
  yield node
  for (const child of childrenOf(node)) yield* walk(child)
}

const nameOf = (node: unknown): string | undefined => {
  if (!isNode(node)) return undefined
  if (node.type === "PrivateIdentifier" && typeof node.name === "string") return `#${node.name}`
  return typeof node.name === "string" ? node.name : undefined
}

/** A file with its syntax tree; a file that does not parse is an error, never silently left out. */
class Parsed {
  readonly path: string
  readonly text: string
  readonly body: ReadonlyArray<Node>

  constructor({ path, text }: File) {
    this.path = path
    this.text = text
    const { program, errors } = parseSync(path, text, { lang: path.endsWith("x") ? "tsx" : "ts" })
    if (errors.length > 0) throw new Error(`${path} does not parse: ${errors[0]?.message}`)
    // The parser's types are a union of all kinds of nodes; here a node is only its kind, its place and its fields.
    const statements: ReadonlyArray<unknown> = program.body
    this.body = statements.filter(isNode)
  }

  lineAt(offset: number): number {
    return this.text.slice(0, offset).split("\n").length
  }

  find(node: Node, what: string): Finding {
    return { path: this.path, line: this.lineAt(node.start), what }
  }
}

interface Import {
  readonly node: Node
  /** The file that is named, from the root; `undefined` for a package. */
  readonly target: string | undefined
  /** The names that are taken; `*` for all. */
  readonly names: ReadonlyArray<string>
}

const targetOf = (path: string, source: unknown): string | undefined => {
  const value = isNode(source) ? source.value : undefined
  return typeof value === "string" && value.startsWith(".")
    ? normalize(join(dirname(path), value))
    : undefined
}

const namesOf = (node: Node): ReadonlyArray<string> => {
  const specifiers = Array.isArray(node.specifiers) ? node.specifiers.filter(isNode) : []
  if (node.type === "ExportAllDeclaration") return ["*"]
  return specifiers.map((one) =>
    one.type === "ImportSpecifier"
      ? (nameOf(one.imported) ?? "*")
      : one.type === "ExportSpecifier"
        ? (nameOf(one.local) ?? "*")
        : "*"
  )
}

const importsOf = (file: Parsed): ReadonlyArray<Import> => {
  const found: Array<Import> = []
  for (const statement of file.body) {
    for (const node of walk(statement)) {
      const isStatic =
        node.type === "ImportDeclaration" ||
        node.type === "ExportAllDeclaration" ||
        node.type === "ExportNamedDeclaration"
      if (isStatic && isNode(node.source)) {
        found.push({ node, target: targetOf(file.path, node.source), names: namesOf(node) })
      }
      if (node.type === "ImportExpression" || node.type === "TSImportType") {
        const source = node.source ?? node.argument
        found.push({
          node,
          target: targetOf(
            file.path,
            isNode(source) && source.type === "TSLiteralType" ? source.literal : source
          ),
          names: ["*"]
        })
      }
    }
  }
  return found
}

/** A folder of `src` that no floor names would count as the facade, which may import nearly everything. */
const hasNoFloor = ({ path }: Parsed): boolean => folderOf(path) === "src" && dirname(path) !== "src"

const importsUp = (files: ReadonlyArray<Parsed>): ReadonlyArray<Finding> =>
  files
    .filter(({ path }) => isSource(path))
    .flatMap((file) =>
      importsOf(file).flatMap(({ node, target }) => {
        if (hasNoFloor(file)) return [file.find(node, `imports, and ${dirname(file.path)} has no floor`)]
        if (target === undefined || target.endsWith(".json")) return []
        const isBelow = floorOf(target) >= 0 && floorOf(target) < floorOf(file.path)
        const isBeside = folderOf(target) === folderOf(file.path)
        return isBelow || isBeside
          ? []
          : [file.find(node, `imports ${target}, which is not below ${folderOf(file.path)}`)]
      })
    )

/** Top-level declarations of a file, by name. */
const declarationsOf = (
  file: Parsed
): ReadonlyArray<{ readonly name: string; readonly node: Node; readonly isExported: boolean }> =>
  file.body.flatMap((statement) => {
    const isExported = statement.type === "ExportNamedDeclaration"
    const declared = isExported ? statement.declaration : statement
    if (!isNode(declared)) return []
    if (declared.type === "VariableDeclaration") {
      const declarations = Array.isArray(declared.declarations) ? declared.declarations.filter(isNode) : []
      return declarations.flatMap((one) => {
        const name = nameOf(one.id)
        return name === undefined ? [] : [{ name, node: one, isExported }]
      })
    }
    const name = nameOf(declared.id)
    return name === undefined ? [] : [{ name, node: declared, isExported }]
  })

const linesOf = (file: Parsed, node: Node): number => file.lineAt(node.end) - file.lineAt(node.start) + 1

/** Top-level functions and values, and methods of classes. A class is as long as its subject; its methods are not. */
const longDefinitions = (files: ReadonlyArray<Parsed>): ReadonlyArray<Finding> =>
  files
    .filter(({ path }) => isSource(path))
    .flatMap((file) => {
      const long = (name: string, node: Node) => {
        const lines = linesOf(file, node)
        return lines > longLines ? [{ ...file.find(node, `${name} has ${lines} lines`), name }] : []
      }
      return declarationsOf(file).flatMap(({ name, node }) => {
        if (node.type.startsWith("TS")) return []
        if (node.type !== "ClassDeclaration") return long(name, node)
        const body = isNode(node.body) && Array.isArray(node.body.body) ? node.body.body.filter(isNode) : []
        return body.flatMap((member) => long(`${name}.${nameOf(member.key) ?? "?"}`, member))
      })
    })

const beginsWithTraffic = (files: ReadonlyArray<Parsed>): ReadonlyArray<Finding> =>
  files.flatMap(({ path, text }) => {
    const first = /^\/\*\*?[\s\S]*?\*\/|^(?:\/\/.*\n)+/.exec(text)?.[0] ?? ""
    const sentence = first.split(/[.;:](?:\s|\*)/)[0] ?? ""
    return /\b(enters?|leaves?)\b/.test(sentence)
      ? [{ path, line: 1, what: "begins with what enters or leaves" }]
      : []
  })

/** Files that are run, or that the package gives to others: whatever they export is used. */
const isEntry = (path: string): boolean =>
  roofs.has(path) || !isSource(path) || /(^|\/)(main|\w+Main)\.tsx?$/.test(path)

/**
 * Exported because the declarations of other files, which the package ships, name them where their types are inferred.
 * `npm run typecheck` fails without them.
 */
const namedInDeclarations: ReadonlySet<string> = new Set([
  "src/actors/projections/ProjectionHealth.ts LagSummary",
  "src/actors/relay/Singletons.ts Singleton",
  "src/cli/run/servers.ts RpcPortUnusable",
  "src/infra/postgres/Columns.ts Columns",
  "src/loadtest/Prepare.ts PreparationFailed",
  "src/access/ServerSettings.ts ServerSettingsInvalid"
])

const unusedExports = (files: ReadonlyArray<Parsed>): ReadonlyArray<Finding> => {
  const used = new Map<string, Set<string>>()
  for (const file of files) {
    for (const { target, names } of importsOf(file)) {
      if (target === undefined) continue
      const known = used.get(target) ?? new Set()
      for (const name of names) known.add(name)
      used.set(target, known)
    }
  }
  return files
    .filter(({ path }) => !isEntry(path))
    .flatMap((file) => {
      const names = used.get(file.path)
      if (names === undefined) return [{ path: file.path, line: 1, what: "is imported nowhere" }]
      if (names.has("*")) return []
      return declarationsOf(file).flatMap(({ name, node, isExported }) =>
        isExported && !names.has(name) && !namedInDeclarations.has(`${file.path} ${name}`)
          ? [file.find(node, `exports ${name}, which is used nowhere else`)]
          : []
      )
    })
}

/** The home of the state of commands, accounts and batches. */
const home = "src/actors/accounts/Lifecycle.ts"
const mutable = /^\s*(?:ReadonlyArray|Readonly<|ReadonlyMap|ReadonlySet)/

/**
 * Fields of the classes of `Lifecycle.ts` that another file could write: neither private nor `readonly`, or `readonly`
 * and holding an array, map or set that others could change. Where there are none, the compiler refuses every such write.
 */
const stateWritable = (files: ReadonlyArray<Parsed>): ReadonlyArray<Finding> =>
  files
    .filter(({ path }) => path === home)
    .flatMap((file) =>
      declarationsOf(file).flatMap(({ name, node }) => {
        if (node.type !== "ClassDeclaration" || !isNode(node.body) || !Array.isArray(node.body.body))
          return []
        return node.body.body.filter(isNode).flatMap((member) => {
          if (member.type !== "PropertyDefinition" || !isNode(member.key)) return []
          if (member.key.type === "PrivateIdentifier") return []
          const field = `${name}.${nameOf(member.key)}`
          if (member.readonly !== true) return [file.find(member, `${field} may be written by any file`)]
          const type = isNode(member.typeAnnotation)
            ? file.text.slice(member.typeAnnotation.start + 1, member.typeAnnotation.end)
            : ""
          return /^\s*(Array|Map|Set)</.test(type) && !mutable.test(type)
            ? [file.find(member, `${field} may be changed by any file`)]
            : []
        })
      })
    )

/** What is counted, in the order in which it is printed. */
export const measures = {
  "imports that run back up between folders": importsUp,
  [`definitions over ${longLines} lines`]: longDefinitions,
  "files that begin with what enters or leaves": beginsWithTraffic,
  "exports and files used nowhere": unusedExports,
  "state of a command, account or batch that others could write": stateWritable
} as const satisfies Readonly<Record<string, (files: ReadonlyArray<Parsed>) => ReadonlyArray<Finding>>>

export const measure = (files: ReadonlyArray<File>): ReadonlyMap<string, ReadonlyArray<Finding>> => {
  const parsed = files.map((file) => new Parsed(file))
  return new Map(Object.entries(measures).map(([what, find]) => [what, find(parsed)]))
}

/** The TypeScript files of the project; one that is being moved is tracked and gone. */
export const trackedFiles = (): ReadonlyArray<File> =>
  execFileSync("git", ["ls-files", "*.ts", "*.tsx"], { encoding: "utf8" })
    .split("\n")
    .filter((path) => path !== "" && existsSync(path))
    .map((path) => ({ path, text: readFileSync(path, "utf8") }))

const print = (): void => {
  for (const [what, found] of measure(trackedFiles())) {
    console.log(`${what}: ${found.length}`)
    for (const { path, line, what: detail } of found) console.log(`  ${path}:${line} ${detail}`)
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) print()
