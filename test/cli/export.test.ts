/** Exports of a statement: every line once, and no text that a spreadsheet would take for a formula. */
import { NodeFileSystem, NodePath } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Stdio } from "effect"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ExportFailed, exportStatement, goesToStdout, neutralised } from "../../src/cli/remote/export.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { viewOf } from "../../src/domain/Views.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { Queries } from "../../src/infra/readmodel/Queries.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount, withdraw } from "../support/eventWriter.ts"
import { accountId } from "../support/storedEvents.ts"

const services = Layer.fresh(
  Layer.mergeAll(Queries.layer, ProjectionEngine.layer).pipe(
    Layer.provideMerge(Layer.mergeAll(ReadModel.layerMemory, EventStore.layerMemory)),
    Layer.provideMerge(ProjectionWaiters.layer)
  )
).pipe(Layer.merge(Layer.mergeAll(NodeFileSystem.layer, NodePath.layer, Stdio.layerTest({}))))

/** What a ledger answers, from the read model alone. */
const books = Effect.map(Queries, (queries) => ({
  balance: (id: string, options?: { readonly readToken?: string | undefined }) =>
    Effect.map(queries.balance(accountId(id), options ?? {}), (head) => viewOf(head, head.recordedAt)),
  statement: (id: string, options?: Parameters<typeof queries.statement>[1]) =>
    queries.statement(accountId(id), options ?? {})
}))

/** The file to which the statement of `a` is exported after these commands. */
const exported = Effect.fnUntraced(function* (
  format: "csv" | "json",
  ...commands: ReadonlyArray<CommandInput>
) {
  const fs = yield* FileSystem.FileSystem
  const engine = yield* ProjectionEngine
  yield* engine.project(new EventWriter().commit(openAccount("a"), ...commands).events, [])
  const file = `${yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-export-" })}/a.${format}`
  const { lines } = yield* exportStatement(yield* books, accountId("a"), format, file, {})
  return { count: lines, text: yield* fs.readFileString(file) }
}, Effect.scoped)

describe("an export as CSV", () => {
  it.effect("neutralises texts that begin like a formula, and leaves numbers numbers", () =>
    Effect.gen(function* () {
      const { text, count } = yield* exported(
        "csv",
        { ...deposit("a", 500n, "=HYPERLINK(1)"), commandId: "-1" },
        { ...deposit("a", 1n, "+1"), commandId: "c-2" },
        { ...deposit("a", 1n, '@SUM(A1),"x"'), commandId: "c-3" },
        { ...deposit("a", 1n, "\t=1"), commandId: "c-4" },
        { ...deposit("a", 1n, "-5 % rebate"), commandId: "c-5" },
        { ...deposit("a", 1n, "rent = 5"), commandId: "c-6" },
        { ...withdraw("a", 300n), commandId: "c-7" }
      )
      assert.strictEqual(count, 8)
      const [header, , ...lines] = text.split("\r\n")
      assert.strictEqual(
        header,
        "version,recorded_at,effective_at,type,counterparty,description,amount,balance,asset,command_id"
      )
      assert.deepEqual(
        lines.map((line) => line.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "t")),
        [
          "2,t,t,Deposited,external:bank,'=HYPERLINK(1),5.00,5.00,USD/2,'-1",
          "3,t,t,Deposited,external:bank,'+1,0.01,5.01,USD/2,c-2",
          `4,t,t,Deposited,external:bank,"'@SUM(A1),""x""",0.01,5.02,USD/2,c-3`,
          "5,t,t,Deposited,external:bank,'\t'=1,0.01,5.03,USD/2,c-4",
          "6,t,t,Deposited,external:bank,'-5 % rebate,0.01,5.04,USD/2,c-5",
          "7,t,t,Deposited,external:bank,rent = 5,0.01,5.05,USD/2,c-6",
          "8,t,t,Withdrawn,external:bank,,-3.00,2.05,USD/2,c-7",
          ""
        ]
      )
    }).pipe(Effect.provide(services))
  )

  it.each(["=1", "+1", "-1", "@x", " =1", "\u00a0=1", "\t1", "\r1", "\n1", "\u200e=1", "＝1", "－1"])(
    "neutralises %j",
    (text) => {
      assert.strictEqual(neutralised(text), `'${text}`)
    }
  )

  it.each([
    ["x;=1", "x;'=1"],
    ["x; \u200e＝1", "x;' \u200e＝1"],
    ["x;;-1", "x;;'-1"],
    ["x\t@SUM(A1)", "x\t'@SUM(A1)"],
    ["x,\n+1", "x,\n'+1"],
    ['x;"=1"', 'x;\'"=1"'],
    ["=1;=1", "'=1;'=1"]
  ])("neutralises %j where another character than the comma ends a cell", (text, told) => {
    assert.strictEqual(neutralised(text), told)
  })

  it.each(["", "rent", "rent; 5", "a;b", "a; 1=1", "1=1", "a+b", "'=1", "東京", " rent"])(
    "leaves %j as it is",
    (text) => {
      assert.strictEqual(neutralised(text), text)
    }
  )
})

it.effect("an export to a folder that does not exist fails with the file's name", () =>
  Effect.gen(function* () {
    const engine = yield* ProjectionEngine
    yield* engine.project(new EventWriter().commit(openAccount("a")).events, [])
    const error = yield* Effect.flip(
      exportStatement(yield* books, accountId("a"), "csv", "/no/such/folder/a.csv", {})
    )
    assert.instanceOf(error, ExportFailed)
    assert.include(error.message, "the statement cannot be written to /no/such/folder/a.csv")
  }).pipe(Effect.provide(services))
)

it.effect("an export as JSON has the texts as they were written", () =>
  Effect.gen(function* () {
    const { text } = yield* exported("json", deposit("a", 500n, "=1+1"), deposit("a", 1n))
    const lines: ReadonlyArray<Record<string, unknown>> = JSON.parse(text)
    assert.deepEqual(
      lines.map(({ version, description, amount }) => [version, description, amount]),
      [
        [1, null, "0.00"],
        [2, "=1+1", "5.00"],
        [3, null, "0.01"]
      ]
    )
  }).pipe(Effect.provide(services))
)

/** Exports the statement of an account as CSV to a path in a temporary directory, in which `prepare` may have put something. */
const exportedTo = Effect.fnUntraced(function* (
  name: string,
  prepare: (directory: string) => Effect.Effect<unknown, unknown> = () => Effect.void
) {
  const fs = yield* FileSystem.FileSystem
  const engine = yield* ProjectionEngine
  yield* engine.project(new EventWriter().commit(openAccount("a")).events, [])
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-export-" })
  yield* prepare(directory)
  const told = yield* exportStatement(yield* books, accountId("a"), "csv", `${directory}/${name}`, {})
  return { directory, told, names: (yield* fs.readDirectory(directory)).toSorted() }
})

describe("the file of an export", () => {
  it.effect.each(["there", "not yet there"])("is the one at the end of symbolic links, %s", (state) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { directory, names, told } = yield* exportedTo("link.csv", (path) =>
        Effect.gen(function* () {
          yield* fs.makeDirectory(`${path}/books`)
          if (state === "there") yield* fs.writeFileString(`${path}/books/a.csv`, "old")
          yield* fs.symlink("books/a.csv", `${path}/second.csv`)
          yield* fs.symlink(`${path}/second.csv`, `${path}/link.csv`)
        })
      )
      assert.deepEqual(told, { lines: 1, isFile: true })
      assert.deepEqual(names, ["books", "link.csv", "second.csv"])
      assert.strictEqual(yield* fs.readLink(`${directory}/link.csv`), `${directory}/second.csv`)
      assert.deepEqual(yield* fs.readDirectory(`${directory}/books`), ["a.csv"])
      assert.match(yield* fs.readFileString(`${directory}/books/a.csv`), /^version,.*\r\n1,/)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect.each([
    ["near/link.csv", "../a.csv"],
    ["far/books/link.csv", "../../near/../a.csv"]
  ] as const)("is where the system finds it, by the link %s to %s", ([name, target]) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { directory, names } = yield* exportedTo(name, (path) =>
        Effect.gen(function* () {
          yield* fs.makeDirectory(`${path}/far/books`, { recursive: true })
          yield* fs.symlink("far/books", `${path}/near`)
          yield* fs.symlink(target, `${path}/far/books/link.csv`)
        })
      )
      assert.deepEqual(names, ["far", "near"])
      assert.deepEqual((yield* fs.readDirectory(`${directory}/far`)).toSorted(), ["a.csv", "books"])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("is stdout by its name, and by a link to it", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-export-" })
      yield* fs.symlink("/dev/stdout", `${directory}/link`)
      yield* fs.writeFileString(`${directory}/-`, "old")
      const told = yield* Effect.forEach(
        ["-", `${directory}/link`, `${directory}/-`, `${directory}/none`, `${directory}/none/a.csv`],
        goesToStdout
      )
      assert.deepEqual(told, [true, true, false, false, false])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("keeps who may read it", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { directory } = yield* exportedTo("a.csv", (path) =>
        fs.writeFileString(`${path}/a.csv`, "old", { mode: 0o600 })
      )
      assert.strictEqual((yield* fs.stat(`${directory}/a.csv`)).mode & 0o777, 0o600)
    }).pipe(Effect.scoped, Effect.provide(services))
  )
})
