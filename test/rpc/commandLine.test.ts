/** Commands of the command line over RPC, with TLS and a token, as real processes: what they print, and their exit codes. */
import { execFileSync, spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Option, Redacted } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { dayFile, type Ended, jsonOf, run } from "../support/chronicle.ts"
import { memoryLedger, openTcp, token } from "../support/rpcWorld.ts"

const fileOf = (name: string) => fileURLToPath(new URL(`./certificates/${name}`, import.meta.url))
const pem = (name: string) => readFileSync(fileOf(name), "utf8")
const tls = { cert: pem("server.pem"), key: Redacted.make(pem("server.key")) }

/** Each command starts a process, which takes several seconds on a busy machine. */
const longest = 420_000

const failed = (ended: Ended, code: number, stderr: RegExp): void => {
  assert.deepInclude(ended, { code, stdout: "" }, ended.stderr)
  assert.match(ended.stderr, stderr)
  assert.notMatch(ended.stderr, /SchemaError|\n\s+at |secret-/, "words for a person, no trace and no token")
}

/** The same under `--json`, where the failure is the value on stdout too; answers it. */
const failedAsJson = (ended: Ended, code: number, stderr: RegExp): object => {
  const { error, ...further } = jsonOf(ended)
  assert.deepEqual(further, {})
  failed({ ...ended, stdout: "" }, code, stderr)
  assert.isObject(error)
  assert.strictEqual(ended.stderr, `chronicle: ${(error as { readonly message?: unknown }).message}\n`) // looked at by this line
  return error as object // as asserted above
}

layer(memoryLedger.pipe(Layer.provideMerge(NodeServices.layer)), {
  excludeTestServices: true
})("the command line over RPC", (it) => {
  /** A server that knows the tokens of a till and a reader, and the command line with either token or another one. */
  const world = Effect.gen(function* () {
    const { url } = yield* openTcp({
      tls,
      tokens: [token("till", ["read", "command"], ["till:"]), token("reader", ["read"])]
    })
    const env = { CHRONICLE_RPC_URL: url, CHRONICLE_RPC_CA: fileOf("ledger-ca.pem") }
    const as = (name: string) => ({ ...env, CHRONICLE_RPC_TOKEN: `secret-${name}` })
    const till = (...args: ReadonlyArray<string>) => run(args, { env: as("till") })
    return { env, as, till }
  })

  it.effect(
    "opens, deposits, transfers and withdraws with a token over TLS, and prints receipts",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { till } = yield* world
          const ledger = yield* Ledger
          yield* ledger.dispatch({ _tag: "OpenAccount", account: "till:b", asset: "USD/2", owner: "Bo" })

          const opened = yield* till("open", "till:a", "USD/2", "--owner", "Ada", "--id", "open-a", "--json")
          assert.deepInclude(jsonOf(opened), { commandId: "open-a", replayed: false })
          const paid = yield* till("deposit", "till:a", "12.50", "--description", "float")
          assert.strictEqual(paid.code, 0, paid.stderr)
          assert.match(
            paid.stdout,
            /^Done\.\n[\s\S]*till:a +version 2, hash [\w-]{43}\n +read token +till:a@2\n$/
          )
          const dated = ["--effective", "2026-01-31T23:59+01:00", "--expected-version", "2"]
          const moved = jsonOf(yield* till("transfer", "till:a", "till:b", "5 USD", ...dated, "--json"))
          assert.strictEqual(moved.readToken, "till:a@3,till:b@2")
          const [sent] = yield* ledger.history("till:a", { after: 2 })
          assert.strictEqual(sent?.effectiveAt, Date.parse("2026-01-31T22:59:00Z"))
          const late = yield* till("withdraw", "till:a", "1 USD/2", ...dated, "--json")
          assert.deepInclude(failedAsJson(late, 1, /till:a is at version 3, not 2/), {
            _tag: "VersionConflict"
          })
          assert.strictEqual((yield* till("withdraw", "till:b", "1.25 USD/2")).code, 0)
          assert.strictEqual((yield* ledger.strongBalance("till:a")).balance, 7_50n)
          assert.strictEqual((yield* ledger.strongBalance("till:b")).balance, 3_75n)
        })
      ),
    longest
  )

  it.effect(
    "places, adjusts, captures and releases holds, gives back what was captured, and finds it",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { url } = yield* openTcp()
          const ask = (...args: ReadonlyArray<string>) => run(args, { env: { CHRONICLE_RPC_URL: url } })
          const json = (...args: ReadonlyArray<string>) => Effect.map(ask(...args, "--json"), jsonOf)
          const ledger = yield* Ledger
          for (const account of ["hold:a", "hold:shop"])
            yield* ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada" })
          yield* ledger.dispatch({ _tag: "Deposit", account: "hold:a", amount: 100_00n })
          // A hold is placed for whole milliseconds: for a part of one it is placed for one more.
          const until = ["--expires-in", "604800000.5 millis", "--to", "hold:shop"]
          yield* json("hold", "place", "hold:a", "60", ...until, "--id", "hold-1")
          const adjusted = yield* json("hold", "adjust", "hold:a", "hold-1", "80.00")
          yield* ledger.balance("hold:a", { readToken: String(adjusted.readToken) })
          for (const of of [["hold:a"], ["--prefix", "hold:"]])
            assert.match(
              (yield* ask("hold", "list", ...of)).stdout,
              /Z +hold:a +hold-1 +80\.00 USD +of 80\.00 USD +hold:shop/
            )
          assert.deepEqual(yield* json("hold", "list", "hold:a", "--before", "2026-01-01"), { rows: [] })
          // Read by the scale of another asset, it would be a hundredth of what is meant.
          const yen = yield* ask("hold", "capture", "hold:a", "hold-1", "25 JPY/0")
          failed(yen, 1, /account hold:a holds USD\/2, not JPY\/0/)
          const paid = yield* json("hold", "capture", "hold:a", "hold-1", "25 USD/2", "--id", "paid-1")
          assert.strictEqual(paid.commandId, "paid-1")
          yield* json("hold", "release", "hold:a", "hold-1", "5")
          const view = yield* ledger.strongBalance("hold:a")
          assert.deepInclude(view, { balance: 75_00n, held: 50_00n, available: 25_00n })
          const returned = ["--reason", "returned", "--legs", "hold:shop=10.00", "--effective", "2026-02-01"]
          const back = yield* json("reverse", "paid-1", ...returned)
          const given = Option.getOrThrow(yield* ledger.find("~r1~paid-1"))
          assert.strictEqual(given.effectiveAt, Date.parse("2026-02-01T00:00:00Z"))
          assert.strictEqual(back.commandId, "~r1~paid-1")
          assert.strictEqual((yield* ledger.strongBalance("hold:shop")).balance, 15_00n)
          yield* ledger.dispatch({ _tag: "Deposit", commandId: "in-1", account: "hold:a", amount: 40_00n })
          const contra = ["--legs", "external:bank=10.00"]
          yield* json("reverse", "in-1", "--reason", "too much", ...contra)
          yield* json("reverse", "in-1", "--n", "2", "--reason", "again", "--amount", "5 USD")
          assert.strictEqual((yield* ledger.strongBalance("hold:a")).balance, 110_00n)
          const euros = ["--reason", "x", "--n", "3", "--legs", "external:bank=1 EUR"]
          failed(yield* ask("reverse", "in-1", ...euros), 1, /external:bank in the original moved USD\/2/)
          // Of the accounts that a group opens, or that hold money or pass it on, a reversal asks nothing.
          for (const [account, asset] of [
            ["hold:through", "USD/2"],
            ["hold:yen", "JPY/0"]
          ] as const)
            yield* ledger.dispatch({ _tag: "OpenAccount", account, asset, owner: "Ada" })
          yield* ledger.dispatch({ _tag: "Deposit", account: "hold:yen", amount: 9n })
          yield* ledger.dispatchAll(
            [
              { _tag: "OpenAccount", account: "hold:euro", asset: "EUR/2", owner: "Ada" },
              { _tag: "PlaceHold", account: "hold:yen", amount: 5n },
              { _tag: "Deposit", account: "hold:through", amount: 30_00n },
              { _tag: "Transfer", from: "hold:through", to: "hold:shop", amount: 30_00n }
            ],
            { commandId: "many-1" }
          )
          const part = yield* ask("reverse", "many-1", "--reason", "part", "--amount", "10.00")
          assert.strictEqual(part.code, 0, part.stderr)
          assert.strictEqual((yield* ledger.strongBalance("hold:shop")).balance, 35_00n)
          const passed = ["--reason", "x", "--n", "2", "--legs", "hold:through=1.00"]
          failed(yield* ask("reverse", "many-1", ...passed), 1, /hold:through in the original moved nothing/)
          const found = yield* ask("find", "paid-1")
          assert.strictEqual(found.code, 0, found.stderr)
          assert.match(found.stdout, /HoldCaptured at version 5[\s\S]*reversed by +~r1~paid-1/)
          failed(yield* ask("find", "never"), 1, /no command never was accepted/)
        })
      ),
    longest
  )

  it.effect(
    "answers every question with CHRONICLE_RPC_URL alone",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { url } = yield* openTcp()
          const ask = (...args: ReadonlyArray<string>) => run(args, { env: { CHRONICLE_RPC_URL: url } })
          const ledger = yield* Ledger
          yield* ledger.dispatch({ _tag: "OpenAccount", account: "ask:a", asset: "USD/2", owner: "Ada" })
          const { readToken } = yield* ledger.dispatch({ _tag: "Deposit", account: "ask:a", amount: 7_00n })
          yield* ledger.balance("ask:a", { readToken })

          const now = jsonOf(yield* ask("balance", "ask:a", "--token", readToken, "--json"))
          assert.deepInclude(now, { account: "ask:a", balance: "700", version: 2, behind: 0 })
          const past = yield* ask("balance", "ask:a", "--version", "1")
          assert.match(past.stdout, /balance +0\.00 USD\n/)
          const history = yield* ask("history", "ask:a")
          assert.match(history.stdout, /1 .*AccountOpened[\s\S]*2 .*Deposited +7\.00 USD/)
          const statement = yield* ask("statement", "ask:a", "--by", "effective")
          assert.match(statement.stdout, /opening balance[\s\S]*Deposited[\s\S]*closing balance +7\.00 USD/)
          assert.match((yield* ask("accounts")).stdout, /ask:a +7\.00 USD +7\.00 USD +open +Ada/)
          assert.match((yield* ask("trial-balance")).stdout, /USD\/2 +[\d.]+ USD +-[\d.]+ USD +0\.00 USD/)
          assert.match((yield* ask("cluster")).stdout, /^\S+ \(which answers\): 1 of 1 shards\n$/)
          assert.deepInclude(jsonOf(yield* ask("cluster", "--json")), { shards: 1, unowned: [], duties: [] })
          assert.deepInclude(jsonOf(yield* ask("verify", "--json")), {
            ok: true,
            findings: [],
            findingsTotal: 0
          })
          assert.match((yield* ask("verify", "ask:a")).stdout, /2 events of 1 accounts[\s\S]*✓ I8/)
          failed(yield* ask("verify", "ask:nobody"), 1, /ask:nobody/)
        })
      ),
    longest
  )

  it.effect(
    "does the lines of a file as one group, or says which line is at fault or was refused",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { url } = yield* openTcp()
          const ledger = yield* Ledger
          const group = (lines: ReadonlyArray<string>) =>
            Effect.flatMap(dayFile(lines), (file) =>
              run(["group", file, "--id", "month-end", "--json"], { env: { CHRONICLE_RPC_URL: url } })
            )
          const open = ",1,open,grouped:a,,USD,,,Ada,,"
          const pay = ",2,deposit,grouped:a,,USD,5.00,,,,"
          const unread = yield* group([open, ",2,deposit,grouped:a,,USD,x,,,,"])
          const fault = failedAsJson(unread, 1, /line 3: amount: not a number: x; nothing/)
          assert.deepInclude(fault, { _tag: "GroupFileInvalid", line: 3 })
          const nothing = ",2,deposit,grouped:a,,USD,0.00,,,,"
          const tooMuch = yield* group([open, nothing, ",2,withdraw,grouped:a,,USD,1.00,,,,"])
          const refused = failedAsJson(
            tooMuch,
            1,
            /line 4: account grouped:a has 0\.00 USD, .*; nothing was done/
          )
          assert.deepInclude(refused, { _tag: "GroupRejected", line: 4, index: 1, command: "Withdraw" })
          assert.nestedInclude(refused, { "rejection._tag": "InsufficientFunds", "rejection.amount": "100" })
          const receipt = jsonOf(yield* group([open, pay]))
          assert.deepInclude(receipt, { commandId: "month-end", replayed: false })
          assert.strictEqual((yield* ledger.strongBalance("grouped:a")).balance, 5_00n)
        })
      ),
    longest
  )

  it.effect(
    "does the lines that come through a pipe as one group, and reads no more of them than a group may have",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { url } = yield* openTcp()
          const ledger = yield* Ledger
          const file = yield* dayFile([",1,open,piped:a,,USD,,,Ada,,"])
          const pay = ",2,deposit,piped:a,,USD,5.00,,,,"
          const env = { CHRONICLE_RPC_URL: url }
          /** What a shell command writes is the group. */
          const through = Effect.fnUntraced(function* (name: string, command: string) {
            const pipe = `${dirname(file)}/${name}`
            execFileSync("mkfifo", [pipe])
            yield* Effect.acquireRelease(
              Effect.sync(() => spawn("/bin/sh", ["-c", `{ ${command}; } > ${pipe}`], { stdio: "ignore" })),
              (writer) => Effect.sync(() => writer.kill("SIGKILL"))
            )
            return yield* run(["group", pipe, "--id", name, "--json"], { env })
          })
          const endless = yield* through("endless", `cat ${file}; yes ${pay}`)
          failedAsJson(endless, 1, /must be 100 commands at most/)
          const remarks = yield* through("remarks", `cat ${file}; yes "# ${"x".repeat(8_000)}"`)
          failedAsJson(remarks, 1, /it has more than 16 MiB/)
          const piped = yield* through("piped", `cat ${file}; sleep 0.1; echo ${pay}`)
          assert.deepInclude(jsonOf(piped), { commandId: "piped", replayed: false })
          assert.strictEqual((yield* ledger.strongBalance("piped:a")).balance, 5_00n)
          const folder = dirname(file)
          failed(yield* run(["group", folder], { env }), 2, /^chronicle: <file> "\/.*" is a directory\n/)
          failed(yield* run(["group", `${folder}/none`], { env }), 2, /does not exist/)
        })
      ),
    longest
  )

  it.effect(
    "asks and commands a node on this machine's port, says so where stores are named, and passes one by that refuses",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const ledger = yield* Ledger
          yield* ledger.dispatch({ _tag: "OpenAccount", account: "here:a", asset: "USD/2", owner: "Ada" })
          const portOf = (url: string) => ({ CHRONICLE_RPC_PORT: new URL(url).port })
          const balance = ["balance", "here:a", "--version", "1"]
          const stores = {
            CHRONICLE_EVENT_STORE_URL: "postgresql://nobody@127.0.0.1:1/none",
            CHRONICLE_READ_MODEL_URL: "postgresql://nobody@127.0.0.1:1/none"
          }
          const here = portOf((yield* openTcp()).url)
          assert.deepInclude(yield* run(balance, { env: here }), { code: 0, stderr: "" })
          // A command goes there, too, and not to another node on the default port.
          assert.deepInclude(yield* run(["deposit", "here:a", "5"], { env: here }), { code: 0, stderr: "" })
          assert.strictEqual((yield* ledger.strongBalance("here:a")).balance, 5_00n)
          const both = yield* run(balance, { env: { ...here, ...stores } })
          assert.strictEqual(both.code, 0)
          assert.match(both.stderr, /^chronicle: this is the answer of the node at tcp:.*\n$/)
          const named = { ...here, ...stores, CHRONICLE_RPC_URL: "none" }
          failed(yield* run(balance, { env: named }), 1, /event.store|127\.0\.0\.1:1/)
          // Its token is not known here, so the stores are asked, of which nothing is known either.
          const closed = portOf((yield* openTcp({ tokens: [token("till", ["read"])] })).url)
          const passedBy = yield* run(balance, { env: closed })
          failed(passedBy, 2, /is not asked: [\s\S]*are not set/)
          assert.lengthOf(passedBy.stderr.match(/is not asked/g) ?? [], 1, "said once")
        })
      ),
    longest
  )

  it.effect(
    "lets an auditor audit, and no caller with another scope",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const tokens = [
            token("auditor", ["audit"]),
            token("reader", ["read"]),
            token("shop", ["audit"], ["shop:"])
          ]
          const { url } = yield* openTcp({ tokens })
          const verify = (name: string) =>
            run(["verify"], { env: { CHRONICLE_RPC_URL: url, CHRONICLE_RPC_TOKEN: `secret-${name}` } })
          assert.strictEqual((yield* verify("auditor")).code, 0)
          failed(yield* verify("reader"), 1, /scope audit is missing/)
          failed(yield* verify("shop"), 1, /all accounts/)
          // At the node that it finds on this machine's port it may audit as well, though not ask how that is.
          const here = (name: string) =>
            run(["verify"], {
              env: { CHRONICLE_RPC_PORT: new URL(url).port, CHRONICLE_RPC_TOKEN: `secret-${name}` }
            })
          assert.deepInclude(yield* here("auditor"), { code: 0, stderr: "" })
          // Who may ask how it is is one of its callers, whose question it answers, be it with a refusal.
          failed(yield* here("reader"), 1, /scope audit is missing/)
          // It refuses all of another one, so the stores are asked, of which nothing is known.
          failed(yield* here("shop"), 2, /is not asked: [\s\S]*all accounts[\s\S]*are not set/)
        })
      ),
    longest
  )

  it.effect(
    "exits with 1 when the ledger or the server refuses, with 2 on wrong usage",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { env, as, till } = yield* world
          const ledger = yield* Ledger
          yield* ledger.dispatch({ _tag: "OpenAccount", account: "till:c", asset: "USD/2", owner: "Cy" })
          failed(yield* till("withdraw", "till:c", "100 USD/2"), 1, /^chronicle: .*till:c/)
          const elsewhere = yield* till("deposit", "other:a", "1 USD/2", "--json")
          const forbidden = failedAsJson(elsewhere, 1, /other:a is not within till:/)
          assert.deepInclude(forbidden, { _tag: "Forbidden", caller: "till" })
          const unset = yield* run(["balance", "till:c", "--json"], { env: { CHRONICLE_RPC_URL: "none" } })
          assert.deepInclude(failedAsJson(unset, 2, /are not set/), { _tag: "ServicesUnknown" })
          const spend = ["deposit", "till:c", "1 USD/2"]
          failed(yield* run(spend, { env: as("reader") }), 1, /scope command is missing/)
          failed(yield* run(spend, { env: as("nobody") }), 1, /token is not known/)
          // Wrong usage exits with 2 before a node is asked.
          failed(yield* till("deposit", "till:c", "much"), 2, /"much" is no amount/)
          for (const [args, words] of [
            [
              ["hold", "place", "till:c", "1", "--expires", "2099-01-01", "--expires-in", "7 days"],
              /exclude each other/
            ],
            [["hold", "adjust", "till:c", "hold-1"], /an amount, --expires, or both/],
            [
              ["reverse", "in-1", "--reason", "x", "--amount", "1", "--legs", "till:c=1"],
              /exclude each other/
            ],
            [["reverse", "in-1", "--reason", "x", "--n", "1000"], /must be a whole number, 1 to 999/],
            [["update", "till:c", "--description", "x"], /--owner, --overdraft or --metadata/]
          ] as const)
            failed(yield* run(args, { env: { CHRONICLE_RPC_URL: "tcp://127.0.0.1:1" } }), 2, words)
          failed(yield* run(spend, { env: { ...env, CHRONICLE_RPC_CA: "none.pem" } }), 2, /CHRONICLE_RPC_CA/)
          const paces = ["--rate", "1", "--concurrency", "1"]
          const load = yield* run(["loadtest", "--scenario", "transfers-hot", ...paces, "--json"])
          const reason = "--rate and --concurrency exclude each other: an open loop, or a closed one"
          assert.deepEqual(failedAsJson(load, 2, /--rate and --concurrency/), {
            _tag: "OptionsInvalid",
            message: reason,
            reason
          })
          assert.strictEqual((yield* ledger.strongBalance("till:c")).version, 1)
        })
      ),
    longest
  )

  it.effect(
    "says why when it cannot reach or trust a node",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { url } = yield* openTcp({ tls })
          const args = ["deposit", "till:a", "1 USD/2"]
          const untrusted = { CHRONICLE_RPC_URL: url, CHRONICLE_RPC_CA: fileOf("other-ca.pem") }
          const nobody = { CHRONICLE_RPC_URL: "tcp://127.0.0.1:1" }
          // Each tries for as long as connecting may take.
          const [distrusting, alone] = yield* Effect.all(
            [run(args, { env: untrusted }), run(args, { env: nobody })],
            { concurrency: 2 }
          )
          failed(distrusting, 1, /certificate|self.signed|issuer/)
          failed(alone, 1, /ECONNREFUSED 127\.0\.0\.1:1; nothing was done/)
        })
      ),
    longest
  )

  it.effect("refuses to serve beyond loopback without tokens and TLS, without showing a token file", () =>
    Effect.gen(function* () {
      const services = {
        CHRONICLE_EVENT_STORE_URL: "postgresql://nobody@127.0.0.1:1/none",
        CHRONICLE_READ_MODEL_URL: "postgresql://nobody@127.0.0.1:1/none",
        CHRONICLE_NATS_URL: "nats://127.0.0.1:1"
      }
      const serve = (env: Readonly<Record<string, string>>) =>
        run(["serve"], { env: { ...services, ...env } })
      const open = { CHRONICLE_RPC_HOST: "0.0.0.0" }
      const withTls = {
        CHRONICLE_RPC_TLS_CERT: fileOf("server.pem"),
        CHRONICLE_RPC_TLS_KEY: fileOf("server.key")
      }
      const withTokens = { CHRONICLE_RPC_TOKENS: JSON.stringify([token("a", ["read"])]) }
      failed(yield* serve(open), 2, /without TLS .* and tokens .*anybody who reaches it could move money/)
      failed(yield* serve({ ...open, ...withTls }), 2, /without tokens/)
      failed(yield* serve({ ...open, ...withTokens }), 2, /without TLS/)
      failed(yield* serve({ CHRONICLE_RPC_TOKENS: '["secret-of-mine"]' }), 2, /CHRONICLE_RPC_TOKENS must be/)
      for (const door of ["RPC", "HTTP"])
        failed(
          yield* serve({
            [`CHRONICLE_${door}_TLS_CERT`]: fileOf("server.pem"),
            [`CHRONICLE_${door}_TLS_KEY`]: fileOf("address.key")
          }),
          2,
          new RegExp(`CHRONICLE_${door}_TLS_CERT.* cannot be used: `)
        )
      // With both it goes on, to the databases, which are not there.
      const both = yield* serve({ ...open, ...withTls, ...withTokens })
      assert.strictEqual(both.code, 1)
      assert.notInclude(both.stderr, "could move money")
    })
  )
})
