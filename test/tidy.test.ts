/** The rules of the house as an ordinary test, so that a breach is reported with its file, its line and the reason. */
import { execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { measure, measures, trackedFiles } from "../scripts/structure.ts"

interface File {
  readonly path: string
  readonly text: string
}
/** A rule looks at one file and names each breach, with its line where it has one. */
type Rule = (file: File) => ReadonlyArray<string>

const isSource = (path: string) => path.startsWith("src/") && isScript(path)
/** The console runs in a browser, where there is no Effect and none of its services. */
const isOfNode = (path: string) => isSource(path) && !path.startsWith("src/console/")
const isScript = (path: string) => /\.tsx?$/.test(path)
const isTest = (path: string) => path.startsWith("test/") && path.endsWith(".ts")

/** The code of a file, line by line, without its comments; `//` inside a word (a URL) begins none. */
const codeOf = (text: string): ReadonlyArray<string> =>
  text
    .replaceAll(/\/\*[\s\S]*?\*\//g, (comment) => comment.replaceAll(/[^\n]/g, ""))
    .split("\n")
    .map((line) => line.replace(/(^|\s)\/\/.*$/, ""))

const linesWith = (lines: ReadonlyArray<string>, pattern: RegExp, what: string): ReadonlyArray<string> =>
  lines.flatMap((line, index) => (pattern.test(line) ? [`line ${index + 1}: ${what}`] : []))

const ban =
  (applies: (path: string) => boolean, pattern: RegExp, what: string): Rule =>
  ({ path, text }) =>
    applies(path) ? linesWith(codeOf(text), pattern, what) : []

/**
 * What each folder of src may import, besides itself: everything of a lower floor. Arrows point down only. The
 * facade (files right under src) stands on the actors and the doors on it; index.ts exports all and is the roof.
 */
const floors = [
  "domain",
  "console",
  "infra",
  "actors",
  "(facade)",
  "access",
  "rpc http",
  "loadtest",
  "cli",
  "(roof)"
]
const floorOf = (path: string): number => {
  const [, folder = "", file] = path.split("/")
  const name =
    file !== undefined ? folder : /^(index|client|testing)\.ts$/.test(folder) ? "(roof)" : "(facade)"
  return path.startsWith("src/") ? floors.findIndex((names) => names.split(" ").includes(name)) : -1
}
const folderOf = (path: string) => path.split("/").slice(0, 2).join("/")

const importsOf = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/(?:\bfrom\s+|\bimport\s*\(?\s*)["']([^"']+)["']/g)].map(([, target = ""]) => target)

const importDirection: Rule = ({ path, text }) => {
  if (!isSource(path)) return []
  return importsOf(text).flatMap((target) => {
    if (!target.startsWith(".") || target.endsWith(".json")) return []
    const to = normalize(join(dirname(path), target))
    const isDown = floorOf(to) >= 0 && floorOf(to) < floorOf(path)
    const isBeside =
      floorOf(path) === floorOf(to) &&
      (folderOf(path) === folderOf(to) || floors[floorOf(path)] === "(facade)")
    return isDown || isBeside ? [] : [`imports ${to}: not below ${folderOf(path)}`]
  })
}

/** The domain is pure: of effect it knows only values and schemas. */
const pureDomain: Rule = ({ path, text }) => {
  if (!path.startsWith("src/domain/")) return []
  const impure = /\b(Effect|Layer|Context|Stream|Fiber|Clock|Random|Ref|Queue|Config|Schedule|Scope)\b/
  return [...text.matchAll(/import (?:type )?\{([^}]*)\} from "effect"/g)].flatMap(([, names = ""]) =>
    impure.test(names) ? [`imports ${names.trim()} of effect: the domain is pure`] : []
  )
}

const firstSentence: Rule = ({ path, text }) =>
  isSource(path) && !/^\/\*\*\s[\s\S]*?[.?!:]\s*\*\/\n/.test(text)
    ? ["line 1: must be a comment that says what the file is for"]
    : []

const names: Rule = ({ path, text }) => [
  ...(isScript(path) && /(^|[/.])(utils?|common|helpers?|managers?|impl)([/.]|$)/i.test(path)
    ? ["is named for no subject"]
    : []),
  ...(isSource(path)
    ? linesWith(
        codeOf(text),
        /\b(class|const|function|interface|type) \w*(Live|Impl|Manager)\b/,
        "Live, Impl or Manager"
      )
    : [])
]

/** The comments of a file, line by line. */
const commentsOf = (text: string): ReadonlyArray<string> => {
  const code = codeOf(text)
  return text
    .split("\n")
    .map((line, index) => line.slice(code[index]?.trim() === "" ? 0 : code[index]?.length))
}

/** A comment says which caller, node or process it means. */
const subjects: Rule = ({ path, text }) =>
  isScript(path)
    ? linesWith(commentsOf(text), /\b(somebody|nobody|whoever|befell)\b/i, "names no subject")
    : []

const isText = (path: string) => /\.(tsx?|css|md|json|ya?ml|sql|csv|html|conf|toml|sh)$/.test(path)
const places: Rule = ({ path, text }) => {
  if (!isText(path)) return []
  const lines = text.split("\n")
  return [
    ...linesWith(
      lines,
      /https?:\/\/[\w.-]*(registry|npmjs|artifactory|nexus|pypi)[\w.-]*/i,
      "a registry's host"
    ),
    ...linesWith(
      lines,
      /(^|[\s"'`(=:])\/(work|tmp|var\/tmp|home|root|Users)\/[\w.]/,
      "a path of some machine"
    )
  ]
}

const rules: { readonly [name: string]: Rule } = {
  "imports point down": importDirection,
  "the domain is pure": pureDomain,
  "a file begins by saying what it is for": firstSentence,
  "names say the subject": names,
  "comments name their subjects": subjects,
  "no place of one machine": places,
  "the clock is a service": ban(isOfNode, /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/, "use Clock"),
  "chance is a service": ban(
    isOfNode,
    /\bMath\.random\(|\brandomUUID\(|(?<!\brandom\.)\brandomBytes\(/,
    "use Random or Crypto"
  ),
  "time passes in Effect": ban(
    isOfNode,
    /\bset(Timeout|Interval|Immediate)\(/,
    "use Effect.sleep or Schedule"
  ),
  "the environment is read in one place": ban(isSource, /\bprocess\.env\b/, "use Config"),
  "output goes through services": ban(
    (path) => isSource(path) && !path.startsWith("src/cli/"),
    /\bconsole\.|\bprocess\.std(out|err)\b/,
    "use Effect.log or Console"
  ),
  "no async and no try in Effect code": ban(
    isOfNode,
    /\basync\s+(function\b|\(|\w+\s*(=>|\())|\btry\s*\{|\bawait\s+\w/,
    "async, await or try"
  ),
  "types are honest": ban(
    isScript,
    /[:<,|]\s*any\b(?!\s*\()|\bas any\b|\bas unknown as\b/,
    "a type by force"
  ),
  "nothing is asserted to be there": ban(isScript, /[\w)\]]!([.;,)\][]|$)/, "a non-null assertion"),
  "nothing is left to do": ({ path, text }) =>
    isScript(path) ? linesWith(text.split("\n"), /\b(TOD[O]|FIXM[E]|XX[X])\b/, "unfinished") : [],
  "every test runs": ban(
    isTest,
    /\b(it|test|describe|effect|live|prop|layer)\.(only|skip|todo|fails)\b/,
    "a test set aside"
  ),
  "effect is imported by its stable names": ({ path, text }) =>
    isScript(path) && importsOf(text).some((target) => target.startsWith("effect/unstable"))
      ? ["imports effect/unstable"]
      : []
}

/** Breaches that are right where they are, each with its reason. One that is no longer needed must go. */
const allowed: { readonly [rule: string]: { readonly [path: string]: string } } = {
  "chance is a service": {
    "src/infra/dev/Password.ts": "a password needs the machine's entropy, no seed may foretell it"
  },
  "the clock is a service": {
    "src/cli/front.ts": "the time of a folder that is in use, beside whatever the process does"
  },
  "time passes in Effect": {
    "src/cli/front.ts": "renews that time for as long as the process runs"
  },
  "the environment is read in one place": {
    "src/LedgerNode.ts": "a thread gets the environment of its process, with a place for V8's compiled code",
    "src/infra/dev/Programs.ts": "PATH and HOME are the machine's, not the ledger's configuration",
    "src/loadtest/nodes/NodeProcess.ts": "a node gets the environment of its parent, with its own place in it"
  },
  "no async and no try in Effect code": {
    "src/SourcesInStacks.ts": "V8 asks for a stack trace in the middle of anything, and must get one",
    "src/cli/front.ts": "runs before effect is loaded, to find out how much of it is needed",
    "src/AsyncLedger.ts": "the door for hosts that have promises and no Effect",
    "src/openLedger.ts": "the same, to a node of the host's own process"
  },
  "every test runs": {
    "test/infra/eventStoreCockroach.test.ts": "runs where a CockroachDB is named, and says so where none is"
  }
}

describe("the house rules", () => {
  const tracked = execFileSync("git", ["ls-files"], { encoding: "utf8" }).split("\n")
  const files = tracked
    // This file is full of breaches, to prove the rules on; one that is being moved is tracked and gone.
    .filter((path) => isText(path) && path !== "test/tidy.test.ts" && existsSync(path))
    .map((path): File => ({ path, text: readFileSync(path, "utf8") }))

  it("look at the whole project", () => {
    for (const folder of ["src/domain", "src/infra", "src/actors", "test"])
      assert.isTrue(
        files.some(({ path }) => path.startsWith(`${folder}/`)),
        folder
      )
  })

  it("hold no folder that is none of the project's, as what another program left in the working copy", () => {
    const folders = new Set(tracked.flatMap((path) => (path.includes("/") ? [path.split("/")[0]] : [])))
    const own = [
      ".ci",
      ".github",
      "bench",
      "bin",
      "deploy",
      "docker",
      "docs",
      "examples",
      "migrations",
      "scripts",
      "src",
      "test"
    ]
    assert.deepEqual([...folders].toSorted(), own)
  })

  it.each(Object.entries(rules))("%s", (name, rule) => {
    const excused = new Map(Object.entries(allowed[name] ?? {}))
    const breaches = files.flatMap((file) => {
      const found = rule(file)
      if (found.length > 0 && excused.delete(file.path)) return []
      return found.map((what) => `${file.path} ${what}`)
    })
    assert.deepEqual(breaches, [])
    assert.deepEqual([...excused.keys()], [], "allowed without need")
  })

  it.runIf(existsSync("README.md"))("the README begins with how to install, to see and to test", () => {
    const readme = readFileSync("README.md", "utf8")
    for (const command of ["npm ci", "npm run demo", "npm test"]) assert.include(readme, command)
  })
})

/** Definitions that are long for a reason. The list only shrinks: one that became short, or is gone, must leave it. */
const longForAReason: { readonly [definition: string]: string } = {
  "src/infra/cluster/ShardTenures.ts make":
    "two statements and the batches that carry them share one connection and the names of the stays",
  "src/LedgerQueries.ts ledgerQueries": "a table: one entry a query, with its options and its answer",
  "src/actors/accounts/AccountRegistry.ts make":
    "all ways in and out of memory, and the bars on them, share two maps",
  "src/actors/accounts/AccountRegistry.ts startLoaders":
    "one loop and its three steps share what is wanted, what is being read and the latch",
  "src/actors/accounts/LeaseClient.ts make":
    "the life of a leased account from the request to the release is read in one go",
  "src/actors/accounts/LeaseServer.ts make":
    "the life of a lease from the grant to its return or expiry is read in one go",
  "src/actors/cluster/Peers.ts makePeers":
    "opening, keeping and dropping the one connection to a peer are steps of one state",
  "src/actors/commands/Forwarding.ts make":
    "asking an owner again until the deadline is one loop with its bookkeeping",
  "src/actors/commit/OwnershipBarrier.ts liftBars":
    "one look at the writers, in the order of the proof on top of the file",
  "src/domain/Command.ts kinds": "a table: one entry a kind of command, with its fields",
  "src/domain/Event.ts Event": "a table: one entry a kind of event, with its fields",
  "src/infra/cluster/PeerConnection.ts makePeerConnection":
    "reading, writing, credits and the end of one socket close over the same few numbers",
  "src/infra/config/ReadSideConfig.ts readSideLimits":
    "a table: one entry a limit, with its default and description",
  "src/cli/loadtest.ts flags": "a table: one entry an option, with its bounds and description"
}
const longMost = 15

describe("the structure of the sources", () => {
  const found = measure(trackedFiles())

  it.each(Object.keys(measures).filter((what) => !what.startsWith("definitions over")))(
    "has no %s",
    (what) => {
      const findings = found.get(what) ?? []
      assert.deepEqual(
        findings.map(({ path, line, what: detail }) => `${path}:${line} ${detail}`),
        []
      )
    }
  )

  it("has no long definition without a reason, and few with one", () => {
    const long = (found.get("definitions over 70 lines") ?? []).map(({ path, name }) => `${path} ${name}`)
    assert.deepEqual(long.toSorted(), Object.keys(longForAReason).toSorted())
    assert.isAtMost(long.length, longMost)
  })
})

const finds = (what: string, ...files: ReadonlyArray<readonly [path: string, text: string]>) =>
  measure(files.map(([path, text]) => ({ path, text }))).get(what)?.length

describe("the walk through the code", () => {
  const walk = readFileSync("docs/architecture.md", "utf8")
  const glossary = readFileSync("docs/glossary.md", "utf8")
  const between = (from: string, to: string) => walk.slice(walk.indexOf(from), walk.indexOf(to))
  const filesOf = (text: string) => [...text.matchAll(/\*\*\[(\w+)\.ts\]\(([^)]+)\)/g)]
  const toReceipt = filesOf(between("## To the receipt", "## To the projected row"))
  const whole = filesOf(between("## To the receipt", "## States"))

  it("crosses at most 28 files to the receipt and 45 to the projected row, each once", () => {
    assert.isAtLeast(toReceipt.length, 15)
    assert.isAtMost(toReceipt.length, 28)
    assert.isAtMost(whole.length, 45)
    assert.strictEqual(new Set(whole.map(([, name]) => name)).size, whole.length)
  })

  it("names files that are there", () => {
    for (const [, name, target = ""] of whole) {
      assert.isTrue(existsSync(join("docs", target)), `${name} at ${target}`)
      assert.include(target, `/${name}.ts`)
    }
  })

  it("uses names that the glossary has", () => {
    for (const [, name] of whole) assert.include(glossary, `\`${name}\``)
  })

  it("shows the states as the file that has them does", () => {
    const diagramOf = (text: string) => text.split("```\n")[1]?.trimEnd()
    const lifecycle = readFileSync("src/actors/accounts/Lifecycle.ts", "utf8").replaceAll(/^ \*( {3})?/gm, "")
    const told = diagramOf(walk.slice(walk.indexOf("## States")))
    assert.include(told, "PendingCommand")
    assert.strictEqual(told, diagramOf(lifecycle))
  })

  it("finds the names of the glossary in the sources", () => {
    const sources = trackedFiles().filter(({ path }) => isSource(path))
    const rows = glossary.split("\n").filter((line) => line.startsWith("| "))
    const names = rows.flatMap((row) => [...(row.split(" | ")[2] ?? "").matchAll(/`(\w+)`/g)])
    assert.isAtLeast(names.length, 70)
    for (const [, name = ""] of names) {
      const word = new RegExp(`\\b${name}\\b`)
      assert.isTrue(
        sources.some(({ path, text }) => path.endsWith(`/${name}.ts`) || word.test(text)),
        name
      )
    }
  })
})

describe("CONTRIBUTING.md", () => {
  const page = readFileSync("CONTRIBUTING.md", "utf8")

  it("names files and folders that are there", () => {
    const named = [
      ...page.matchAll(/`((?:src|test|docs|bench|scripts|examples)\/[\w./-]*|[\w./-]+\.(?:ts|md))`/g)
    ]
    assert.isAtLeast(named.length, 15)
    for (const [, path = ""] of named) assert.isTrue(existsSync(path), path)
  })

  it("runs a test by a name that its file has", () => {
    const runs = [...page.matchAll(/-- (test\/\S+) -t "([^"]+)"/g)]
    assert.isNotEmpty(runs)
    for (const [, path = "", name = ""] of runs) assert.include(readFileSync(path, "utf8"), `("${name}`)
  })

  it("shows every floor of the sources", () => {
    for (const { name } of readdirSync("src", { withFileTypes: true }).filter((one) => one.isDirectory()))
      assert.match(page, new RegExp(`^(?:src/\\w+ +)*src/${name} `, "m"))
  })
})

it("no entry of the changelog stands twice, as after a merge that keeps both sides", () => {
  const beginnings = readFileSync("CHANGELOG.md", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("- "))
    .map((line) => line.slice(0, 70))
  assert.deepEqual(
    beginnings.filter((line, index) => beginnings.indexOf(line) !== index),
    []
  )
})

it("a page links to files that are there", () => {
  const pages = execFileSync("git", ["ls-files", "*.md"], { encoding: "utf8" }).trim().split("\n")
  const dead = pages
    .filter(existsSync)
    .flatMap((path) =>
      [...readFileSync(path, "utf8").matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)]
        .filter(([, target = ""]) => !existsSync(join(dirname(path), target)))
        .map(([, target]) => `${path}: ${target}`)
    )
  assert.deepEqual(dead, [])
})

it.each(["decisions", "measurements"])("the index of docs/%s has every note", (folder) => {
  const index = readFileSync(`docs/${folder}/README.md`, "utf8")
  for (const note of readdirSync(`docs/${folder}`))
    if (note !== "README.md") assert.include(index, `](${note})`)
})

describe("each measure of the structure", () => {
  const up = "imports that run back up between folders"
  const long = "definitions over 70 lines"
  const traffic = "files that begin with what enters or leaves"
  const unused = "exports and files used nowhere"
  const state = "state of a command, account or batch that others could write"
  const home = "src/actors/accounts/Lifecycle.ts"
  const lines = (count: number) => "  f()\n".repeat(count)

  it.each<[what: string, path: string, text: string, count: number]>([
    [up, "src/actors/accounts/A.ts", 'import { b } from "../commit/B.ts"', 1],
    [up, "src/actors/relay/A.ts", 'export * from "../projections/B.ts"', 1],
    [up, "src/infra/postgres/A.ts", 'import type { B } from "../eventstore/B.ts"', 1],
    [up, "src/rpc/client/A.ts", 'const b = import("../server/B.ts")', 1],
    [up, "src/rpc/A.ts", 'import { b } from "./server/B.ts"', 1],
    [up, "src/actors/commands/A.ts", 'import { b } from "../commit/B.ts"', 0],
    [up, "src/actors/attic/A.ts", 'import { b } from "../../domain/B.ts"', 1],
    [up, "src/actors/commands/A.ts", 'import { b } from "./B.ts"', 0],
    [long, "src/actors/A.ts", `const a = () => {\n${lines(69)}}`, 1],
    [long, "src/actors/A.ts", `const a = () => {\n${lines(68)}}`, 0],
    [long, "src/actors/A.ts", `class A {\n  b() {\n${lines(69)}  }\n}`, 1],
    [long, "src/actors/A.ts", `class A {\n  b() {\n${lines(40)}  }\n  c() {\n${lines(40)}  }\n}`, 0],
    [traffic, "src/actors/A.ts", "/** Commands enter; receipts leave. */\n", 1],
    [traffic, "src/actors/A.ts", "/** Decides commands. What leaves the actor is a row. */\n", 0],
    [unused, "src/actors/A.ts", "export const a = 1", 1],
    [unused, "src/cli/main.ts", "export const a = 1", 0],
    [state, home, "export class A {\n  phase = 1\n}", 1],
    [state, home, "export class A {\n  readonly waiters: Array<B> = []\n}", 1],
    [
      state,
      home,
      "export class A {\n  #phase = 1\n  readonly id: string\n  readonly on: ReadonlyArray<B> = []\n}",
      0
    ]
  ])("counts %s in %s: %j", (what, path, text, count) => {
    assert.strictEqual(finds(what, [path, text]), count)
  })

  it("counts an export that is imported as used, and one beside it as not", () => {
    const files = [
      ["src/domain/A.ts", "export const a = 1\nexport const b = 2"],
      ["src/cli/main.ts", 'import { a } from "../domain/A.ts"']
    ] as const
    assert.strictEqual(finds(unused, ...files), 1)
  })

  it("refuses a file that does not parse", () => {
    assert.throws(() => finds(unused, ["src/domain/A.ts", "const = 1"]), /does not parse/)
  })
})

describe("each rule", () => {
  const src = "src/infra/Any.ts"
  const sentence = "/** This enters, that leaves. */\n"
  it.each<[rule: string, path: string, text: string]>([
    ["imports point down", "src/domain/A.ts", 'import { B } from "../infra/B.ts"'],
    ["imports point down", "src/infra/A.ts", 'import type { B } from "../actors/B.ts"'],
    ["imports point down", "src/actors/A.ts", 'export * from "../rpc/B.ts"'],
    ["imports point down", "src/rpc/A.ts", 'import { B } from "../http/B.ts"'],
    ["imports point down", "src/Ledger.ts", 'import { B } from "./http/B.ts"'],
    ["imports point down", "src/http/A.ts", 'import { B } from "../index.ts"'],
    ["imports point down", "src/loadtest/A.ts", 'import { B } from "../cli/B.ts"'],
    ["imports point down", "src/infra/dev/A.ts", 'const b = import("../../actors/B.ts")'],
    ["imports point down", "src/actors/A.ts", 'import { b } from "../../test/b.ts"'],
    ["the domain is pure", "src/domain/A.ts", 'import { Effect, Schema } from "effect"'],
    ["a file begins by saying what it is for", src, 'import { A } from "effect"\n'],
    ["a file begins by saying what it is for", src, "/** no sentence */\n"],
    ["names say the subject", "src/infra/utils.ts", sentence],
    ["names say the subject", "test/common/a.ts", sentence],
    ["names say the subject", src, "export const StoreLive = 1"],
    ["names say the subject", src, "class LaneManager {}"],
    ["comments name their subjects", src, "const a = 1 // for whoever asks"],
    ["comments name their subjects", src, "/** Somebody asks. */"],
    ["no place of one machine", "docs/a.md", "see https://registry.example.org/x"],
    ["no place of one machine", "docs/a.md", `run ${["", "home", "me", "x.sh"].join("/")}`],
    ["the clock is a service", src, "const now = Date.now()"],
    ["the clock is a service", src, "const now = new Date()"],
    ["chance is a service", src, "const x = Math.random()"],
    ["time passes in Effect", src, "setTimeout(f, 10)"],
    ["the environment is read in one place", src, "process.env.HOME"],
    ["output goes through services", src, 'console.log("x")'],
    ["no async and no try in Effect code", src, "const f = async () => 1"],
    ["no async and no try in Effect code", src, "  try {"],
    ["types are honest", src, "const x: any = 1"],
    ["types are honest", src, "const x = y as any"],
    ["types are honest", src, "const x = y as unknown as Z"],
    ["types are honest", src, "const x: Array<any> = []"],
    ["nothing is asserted to be there", src, "const x = y!.z"],
    ["nothing is asserted to be there", src, "const x = y[0]!"],
    ["nothing is left to do", src, `// ${["TO", "DO"].join("")}: all of it`],
    ["every test runs", "test/a.test.ts", ["it", 'only("x", f)'].join(".")],
    ["every test runs", "test/a.test.ts", ["describe", 'skip("x", f)'].join(".")],
    ["effect is imported by its stable names", src, 'import { Rpc } from "effect/unstable/rpc"']
  ])("%s: finds a breach in %s: %j", (name, path, text) => {
    const padded = text.endsWith("\n") ? text : `${text}\n`
    assert.isNotEmpty(rules[name]?.({ path, text: padded }))
  })

  it("finds nothing in a file that keeps them", () => {
    const file = {
      path: "src/actors/Mailbox.ts",
      text: `${sentence}import { Clock, Effect } from "effect"
import type { Command } from "../domain/Command.ts"
import { Ticket } from "./Ticket.ts"

// A comment may say Date.now() and console.log, and so may a URL: https://effect.website
export const many = Effect.gen(function* () {
  const now = yield* Clock.currentTimeMillis
  const parsed = Result.try({ try: () => 1, catch: String })
  if (now !== 0 && !parsed) return anything(many, now) as const
  const live = { isLive: true, name: "nobody" }
})
`
    }
    for (const [name, rule] of Object.entries(rules)) assert.deepEqual(rule(file), [], name)
  })
})
