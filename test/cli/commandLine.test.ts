/** Queries at the command line, right and wrong ones, as real processes: their output and their exit codes. */
import { createServer } from "node:net"
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer } from "effect"
import { DevStack } from "../../src/infra/dev/DevStack.ts"
import { type Ended, jsonOf, playedStack, run, variablesOf } from "../support/chronicle.ts"
import { query } from "../support/devStacks.ts"

const day = [
  "2026-03-02T09:00:00Z,c-1,open,alice,,USD,,,Alice,50.00,",
  "2026-03-02T09:00:00Z,c-2,open,bob,,USD,,,Bob,,",
  "2026-03-02T09:01:00Z,c-3,deposit,alice,,USD,500.00,,,,wages",
  "2026-03-02T09:02:00Z,c-4,transfer,alice,bob,USD,120.00,,,,rent",
  '2026-03-02T09:03:00Z,c-5,open,mallory,,USD,,,"Mallory\r\u001b[2J",,',
  '2026-03-02T09:03:00Z,c-6,deposit,mallory,,USD,1.00,,,,"1 \u202eDSU 00.999\rforged"'
]

/** Over the stack's services; `env` replaces some of the variables. */
const ask = Effect.fnUntraced(function* (args: ReadonlyArray<string>, env: Record<string, string> = {}) {
  return yield* run(args, { env: { ...variablesOf(yield* DevStack), ...env } })
})

const failed = (ended: Ended, code: number, stderr: RegExp): void => {
  assert.deepInclude(ended, { code, stdout: "" }, ended.stderr)
  assert.match(ended.stderr, stderr)
  assert.notMatch(ended.stderr, /SchemaError|\n\s+at /, "words for a person, no trace")
}

/** Takes connections and never answers, as a firewall or a frozen server does. */
const silentPort = Effect.acquireRelease(
  Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
    const server = createServer((socket) => socket.on("error", () => socket.destroy()))
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = address !== null && typeof address === "object" ? address.port : 0
      resume(Effect.succeed({ port, close: () => server.close() }))
    })
  }),
  ({ close }) => Effect.sync(close)
).pipe(Effect.map(({ port }) => port))

layer(Layer.effect(DevStack, playedStack(day)).pipe(Layer.provideMerge(NodeServices.layer)), {
  excludeTestServices: true,
  timeout: "4 minutes"
})("the command line", (it) => {
  it.effect("answers a balance now, at a version and at a time", () =>
    Effect.gen(function* () {
      const now = jsonOf(yield* ask(["balance", "alice", "--json"]))
      assert.deepInclude(now, {
        account: "alice",
        asset: "USD/2",
        balance: "38000",
        version: 3,
        status: "open"
      })
      assert.deepInclude(now, { available: "43000" })
      const before = jsonOf(yield* ask(["balance", "alice", "--version", "2", "--json"]))
      assert.deepInclude(before, { balance: "50000", version: 2 })
      const at = new Date(Number(now.recordedAt)).toISOString()
      assert.deepInclude(jsonOf(yield* ask(["balance", "alice", "--known", at, "--json"])), {
        balance: "38000",
        hash: now.hash
      })
      const told = yield* ask(["balance", "alice"])
      assert.match(told.stdout, /balance +380\.00 USD\n +available +430\.00 USD/)
    })
  )

  it.effect("answers the history of an account, and its statement by pages", () =>
    Effect.gen(function* () {
      const history = yield* ask(["history", "alice", "--after", "1", "--json"])
      const events: unknown = JSON.parse(history.stdout)
      assert.isTrue(Array.isArray(events) && events.length === 2)
      assert.deepInclude(Array.isArray(events) && events[0], { version: 2, asset: "USD/2" })
      const page = yield* ask(["history", "alice", "--limit", "2"])
      assert.match(page.stdout, / 500\.00 USD .*\n +… there may be more: --after 2\n$/)
      const first = jsonOf(yield* ask(["statement", "alice", "--limit", "2", "--json"]))
      assert.isTrue(Array.isArray(first.rows) && first.rows.length === 2)
      const cursor = String(first.next)
      const second = jsonOf(yield* ask(["statement", "alice", "--limit", "2", "--cursor", cursor, "--json"]))
      assert.isTrue(Array.isArray(second.rows) && second.rows.length === 1)
      assert.notProperty(second, "next")
      const told = yield* ask(["statement", "alice"])
      assert.match(told.stdout, /TransferSent +bob +-120\.00 USD +380\.00 USD +rent/)
      assert.match(told.stdout, /opening balance +0\.00 USD[\s\S]+closing balance +380\.00 USD/)
      // The day was played now, so its lines were recorded now, whatever they count for.
      assert.notInclude(told.stdout, "2026-03-02T")
      const [line] = Array.isArray(first.rows) ? first.rows : []
      assert.include(told.stdout, `  1  ${new Date(line.recordedAt).toISOString()}  AccountOpened`)
      const filters = ["--type", "TransferSent", "--type", "Deposited", "--counterparty", "bob"]
      const sent = yield* ask(["statement", "alice", "--by", "effective", ...filters])
      assert.match(sent.stdout, / 2026-03-02T09:02:00\.000Z +TransferSent /)
      const sum = yield* ask(["sum", "alice", "--at", "2026-03-02T09:01:00Z"])
      assert.match(
        sum.stdout,
        /^As known at .*Z, what counts by 2026-03-02T09:01:00\.000Z:\n +USD\/2 +500\.00 USD/
      )
      assert.match(
        sent.stdout,
        /^ +opening balance .*\n.*TransferSent .* 380\.00 USD .*\n +closing balance .*\n$/
      )
    })
  )

  it.effect("reads a day in UTC, whatever the time zone of the machine", () =>
    Effect.gen(function* () {
      for (const TZ of ["Pacific/Kiritimati", "Pacific/Niue"]) {
        const lines = (day: string) =>
          ask(["statement", "alice", "--by", "effective", "--from", day, "--to", "2026-03-03", "--json"], {
            TZ
          })
        const rows = (answer: Record<string, unknown>) =>
          Array.isArray(answer.rows) ? answer.rows.length : undefined
        assert.strictEqual(rows(jsonOf(yield* lines("2026-03-02"))), 3, TZ)
        assert.strictEqual(rows(jsonOf(yield* lines("2026-03-02T09:01:00Z"))), 2, TZ)
        assert.strictEqual(rows(jsonOf(yield* lines("1772442120000"))), 1, TZ)
      }
    })
  )

  it.effect("shows what others wrote without letting it act on the terminal", () =>
    Effect.gen(function* () {
      const hidden = /[^\P{Cc}\n]|\p{Bidi_Control}/u
      const balance = yield* ask(["balance", "mallory"])
      assert.match(balance.stdout, /\n +owner +Mallory\\r\\x1b\[2J\n/)
      const statement = yield* ask(["statement", "mallory"])
      assert.include(statement.stdout, "1 \\u{202e}DSU 00.999\\rforged\n")
      const json = yield* ask(["statement", "mallory", "--json"])
      for (const { stdout } of [balance, statement, json]) assert.notMatch(stdout, hidden)
      const rows = jsonOf(json).rows
      assert.deepInclude(Array.isArray(rows) && rows[1], { description: "1 \u202eDSU 00.999\rforged" })
      const typed = yield* ask(["balance", "a\u001b[31m\nb"])
      assert.strictEqual(typed.code, 2)
      assert.notMatch(typed.stderr, hidden)
    })
  )

  it.effect("says in one line that there is no such account", () =>
    Effect.gen(function* () {
      for (const command of ["balance", "history", "statement", "verify"]) {
        const unknown = yield* ask([command, "nobody", "--json"])
        failed({ ...unknown, stdout: "" }, 1, /^(checked .*\n)*chronicle: account nobody does not exist\n$/)
        assert.deepEqual(jsonOf(unknown), {
          error: { _tag: "AccountNotFound", message: "account nobody does not exist", account: "nobody" }
        })
      }
    })
  )

  it.effect("refuses wrong usage with exit code 2, and says what is wrong", () =>
    Effect.gen(function* () {
      failed(yield* ask(["balance", "a b"]), 2, /^chronicle: .*account.*"a b".* must be 1 to 64 characters/)
      failed(yield* ask(["balance"]), 2, /^chronicle: .*account\nusage: chronicle balance/)
      failed(yield* ask(["balance", "alice", "--frob"]), 2, /^chronicle: .*--frob/)
      failed(yield* ask(["frobnicate"]), 2, /^chronicle: .*frobnicate/)
      failed(yield* ask(["help"]), 2, /^chronicle: [^\n]*"help"[^\n\\]*; did you mean hold\?\nusage: /)
      failed(yield* ask(["balance", "a", "--at", ""]), 2, /^chronicle: --at "" is no instant: write/)
      failed(yield* ask(["balance", "a", "--at"]), 2, /^chronicle: --at lacks its value: string\n/)
      failed(yield* ask(["balance", ""]), 2, /^chronicle: <account> "" must be 1 to 64 characters/)
      failed(
        yield* ask(["balance", "external:bank"]),
        2,
        /^chronicle: <account> "external:bank": "external:" is reserved for contra accounts\n/
      )
      failed(yield* ask(["journal", "a=-1;b=1"]), 2, /<legs> "a=-1;b=1" has a leg without its asset: a=-1\n/)
      failed(
        yield* ask(["balance", "alice", "--at", "yesterday"]),
        2,
        /--at.*"yesterday" is no instant: write/
      )
      failed(yield* ask(["balance", "alice", "--json", "--version", "0"]), 2, /--version/)
      const day = ["--at", "2026-02-30"]
      failed(yield* ask(["balance", "alice", ...day]), 2, /"2026-02-30" is no day of the calendar/)
      failed(yield* ask(["trial-balance", ...day]), 2, /"2026-02-30" is no day of the calendar/)
      const local = ["--from", "2026-03-02T09:15:00"]
      failed(yield* ask(["statement", "alice", ...local]), 2, /--from.* has no time zone: add Z/)
      const backwards = ["--from", "2026-03-03", "--to", "2026-03-02"]
      failed(yield* ask(["statement", "alice", ...backwards]), 2, /--from must not be later than --to/)
      const page = ["--export", "csv", "--out", "/nowhere/alice.csv", "--limit", "5"]
      failed(yield* ask(["statement", "alice", ...page]), 2, /--cursor and --limit are of pages/)
      const beside = jsonOf(yield* ask(["statement", "alice", "--export", "csv", "--out", "-", "--json"]))
      assert.match(JSON.stringify(beside), /--json needs stdout for itself/)
      failed(yield* ask(["balance", "alice", "--version", "0"]), 2, /--version/)
      const twice = ["balance", "alice", "--version", "1", "--at", "2026-03-02T09:00:00Z"]
      failed(yield* ask(twice), 2, /^chronicle: --known, --at, --version and --token exclude each other\n$/)
      failed(yield* ask(["history", "alice", "--after", "-1"]), 2, /--after/)
      failed(yield* ask(["statement", "alice", "--limit", "none"]), 2, /--limit/)
      // A whole number is read as HTTP reads it.
      for (const text of ["1e1", "5.0", "0x5", "05", "+5", "5 "])
        failed(yield* ask(["history", "alice", "--limit", text]), 2, /--limit ".*" must be a whole number/)
      // The later value of a key would take the place of the former.
      const pay = ["deposit", "alice", "1", "--metadata"]
      failed(
        yield* ask([...pay, "till=3", "--metadata", "till=4"]),
        2,
        /--metadata .* has the key till twice/
      )
      for (const text of ["till", "=3"])
        failed(yield* ask([...pay, text]), 2, /--metadata .* must be key=value/)
      const own = ["token", "till", "--scope", "read", "--account"]
      for (const text of ["a b", "", "a".repeat(65)])
        failed(
          yield* ask([...own, text]),
          2,
          /^chronicle: .*--account.* must be the beginning of an account id/
        )
      failed(
        yield* ask(["statement", "alice", "--counterparty", "a b"]),
        2,
        /--counterparty "a b" must be the id of an account/
      )
      for (const command of [["balance", "alice"], ["accounts"], ["statement", "alice"], ["hold", "list"]])
        failed(yield* ask([...command, "--token", "alice@x"]), 2, /--token "alice@x" is no read token: it is/)
      for (const command of [
        ["open", "carol", "USD", "--owner", "Carol"],
        ["update", "alice"]
      ])
        failed(yield* ask([...command, "--overdraft", "5 USD"]), 2, /--overdraft "5 USD" is no decimal/)
      failed(
        yield* ask(["open", "a", "USD/2", "--owner", "A", "--overdraft", "5.001"]),
        2,
        /too many decimals/
      )
      failed(yield* ask(["deposit", "a", "5.001 USD/2"]), 2, /<amount> "5.001 USD\/2": .*too many decimals/)
      const back = ["reverse", "c-4", "--reason", "returned", "--legs"]
      for (const text of ["alice", "alice=", "alice=x", "a b=1", "alice=1;", "alice=1=2"])
        failed(yield* ask([...back, text]), 2, /--legs ".*" is no list of accounts with amounts/)
      const help = yield* ask(["balance", "--help"])
      assert.deepInclude(help, { code: 0, stderr: "" })
      assert.include(help.stdout, "--version")
    })
  )

  it.effect("takes a data directory where there is one, and an empty path for none", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const empty = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-empty-" })
      for (const command of [["balance", "alice"], ["cluster"]])
        failed(
          yield* run([...command, "--data", empty]),
          2,
          /^chronicle: --data "\/.*" is no data directory of the ledger: it lacks the version\.json/
        )
      assert.deepEqual(yield* fs.readDirectory(empty), [])
      for (const path of [`${empty}/nowhere`, "package.json"])
        failed(
          yield* run(["verify", "--data", path]),
          2,
          /^chronicle: --data "\/.*" is no directory that can/
        )
      for (const command of ["verify", "migrate", "demo", "dev"])
        failed(yield* run([command, "--data", ""]), 2, /^chronicle: --data "" is no path\n/)
      const load = ["loadtest", "--scenario", "mixed-zipf", "--report", ""]
      failed(yield* run(load), 2, /^chronicle: --report "" is no path\n/)
    }).pipe(Effect.scoped)
  )

  it.effect("says so where a directory cannot be made", () =>
    Effect.gen(function* () {
      // On Linux no name below /proc can be made, and of the directory above it the system says that it is not there.
      const path = process.platform === "linux" ? "/proc/chronicle" : "package.json"
      const unusable = /^chronicle: \/.* cannot be used as a data directory: .*makeDirectory/m
      for (const command of ["dev", "demo"]) {
        const { code, stderr } = yield* run([command, "--data", path])
        assert.strictEqual(code, 1, stderr)
        assert.match(stderr, unusable)
      }
      const load = ["loadtest", "--scenario", "mixed-zipf", "--report", path]
      failed(yield* run(load), 1, /^chronicle: .*makeDirectory/)
    })
  )

  it.effect("says which variable is missing or wrong, with exit code 2", () =>
    Effect.gen(function* () {
      failed(
        yield* run(["balance", "alice"]),
        2,
        /CHRONICLE_EVENT_STORE_URL, CHRONICLE_READ_MODEL_URL are not set/
      )
      failed(yield* run(["serve"]), 2, /CHRONICLE_NATS_URL are not set/)
      const one = { CHRONICLE_EVENT_STORE_URL: "postgresql://127.0.0.1:1/x" }
      failed(yield* run(["verify"], { env: one }), 2, /^chronicle: CHRONICLE_READ_MODEL_URL is not set/)
      failed(
        yield* ask(["balance", "alice"], { CHRONICLE_LANES: "0" }),
        2,
        /CHRONICLE_LANES: must be a whole number of 1 or more/
      )
      failed(yield* ask(["balance", "alice"], { CHRONICLE_LANES: "many" }), 2, /CHRONICLE_LANES: expected/)
      failed(
        yield* ask(["balance", "alice"], { CHRONICLE_SUM_PREFIXES: "merchant:, a b" }),
        2,
        /^chronicle: CHRONICLE_SUM_PREFIXES: must be 1 to 64 characters of an account id: A-Z a-z/
      )
      failed(
        yield* ask(["serve"], { CHRONICLE_RPC_FORMAT: "xml" }),
        2,
        /^chronicle: CHRONICLE_RPC_FORMAT: expected "binary"/
      )
      failed(
        yield* ask(["balance", "alice"], { CHRONICLE_RPC_URL: "localhost:7070" }),
        2,
        /"localhost:7070" is no URL of a node/
      )
      const node = { CHRONICLE_RPC_URL: "tcp://127.0.0.1:1" }
      // What HTTP cannot carry, and what no node takes.
      for (const [command, text, must] of [
        [["webhooks", "list"], "secret-→", "must be one line of characters that a header can carry"],
        [["accounts"], "secret\nof two", "must be one word, without blanks or line breaks"]
      ] as const) {
        const told = yield* run(command, { env: { ...node, CHRONICLE_RPC_TOKEN: text } })
        failed(told, 2, new RegExp(`^chronicle: CHRONICLE_RPC_TOKEN: ${must}`))
        assert.notInclude(told.stderr, "secret")
      }
      failed(
        yield* ask(["balance", "alice"], { CHRONICLE_CLUSTER_SECRET: "short" }),
        2,
        /CHRONICLE_CLUSTER_SECRET: a secret of the cluster has at least 16 characters/
      )
    })
  )

  it.effect("says which database cannot be used, where, and what to do", () =>
    Effect.gen(function* () {
      // It is waited for as long as opening a connection may take.
      const silent = `postgresql://me@127.0.0.1:${yield* silentPort}/books`
      const unanswered = yield* Effect.forkChild(
        ask(["balance", "alice"], { CHRONICLE_READ_MODEL_URL: silent })
      )
      const refused = { CHRONICLE_EVENT_STORE_URL: "postgresql://me:secret@127.0.0.1:1/ledger" }
      for (const command of [["balance", "alice"], ["migrate"], ["verify"]]) {
        const told = yield* ask(command, refused)
        failed(
          told,
          1,
          /event-store database.*postgresql:\/\/127\.0\.0\.1:1\/ledger.*ECONNREFUSED.*Is it running, and the URL right\?/
        )
        assert.notInclude(told.stderr, "secret")
      }
      const nonsense = { CHRONICLE_READ_MODEL_URL: "nonsense" }
      failed(yield* ask(["balance", "alice"], nonsense), 1, /read-model database.*a URL that cannot be read/)
      const empty = new URL(variablesOf(yield* DevStack).CHRONICLE_READ_MODEL_URL ?? "")
      empty.pathname = "/postgres"
      const old = yield* ask(["balance", "alice"], { CHRONICLE_READ_MODEL_URL: empty.toString() })
      failed(old, 1, /read-model database lacks migrations 1.*: run "chronicle migrate" first/)
      empty.pathname = "/nowhere"
      const none = yield* ask(["balance", "alice"], { CHRONICLE_READ_MODEL_URL: empty.toString() })
      failed(none, 1, /"nowhere" does not exist/)
      failed(yield* Fiber.join(unanswered), 1, /read-model database.*\/books/)
    })
  )

  it.effect("refuses databases of a newer schema, and migrates twice without harm", () =>
    Effect.gen(function* () {
      const { eventStoreUrl } = yield* DevStack
      const nothing = jsonOf(yield* ask(["migrate", "--json"]))
      assert.deepEqual(nothing, { eventStore: [], readModel: [] })
      assert.match((yield* ask(["migrate"])).stdout, /event store at .* is at the current schema/)
      yield* query(
        eventStoreUrl,
        `INSERT INTO chronicle_migrations (kind, id, name, checksum, applied_at)
           VALUES ('event-store', 999, 'from the future', '', now())`
      )
      for (const command of [["migrate"], ["balance", "alice"]]) {
        failed(yield* ask(command), 1, /event-store database has schema 999, this program knows up to \d+/)
      }
      yield* query(eventStoreUrl, "DELETE FROM chronicle_migrations WHERE id = 999")
      assert.strictEqual((yield* ask(["balance", "alice"])).code, 0)
    })
  )
})
