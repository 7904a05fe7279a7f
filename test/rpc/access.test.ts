/** What callers may do by their tokens (scopes, account prefixes, command id prefixes, rate), and how they are refused the rest. */
import { get } from "node:http"
import { NodeSocket } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import {
  Cause,
  ConfigProvider,
  Effect,
  Exit,
  FileSystem,
  Logger,
  Option,
  Redacted,
  References,
  Result,
  Stream
} from "effect"
import { Socket } from "effect/socket"
import { readTokens } from "../../src/access/ServerSettings.ts"
import { anyone, hashToken, makeLookup, parseTokens } from "../../src/access/Tokens.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { Ledger } from "../../src/Ledger.ts"
import { payloadFieldsOf, queryEntries } from "../../src/QueryMethods.ts"
import { clientConfig } from "../../src/rpc/client/ClientOptions.ts"
import { deposit, open, transfer } from "../support/ledgerWorld.ts"
import { connect, memoryLedger, openTcp, openWebSocket, token, tokenOf } from "../support/rpcWorld.ts"

const tokens = [
  token("reader", ["read"]),
  token("sender", ["command"]),
  token("both", ["read", "command"]),
  token("boss", ["admin"]),
  token("shop", ["read", "command"], ["shop:", "till:"]),
  { ...token("numbered", ["read", "command"]), commandIds: ["numbered:", "n/"] }
]

type Service = Ledger["Service"]
const outcome = (asked: Effect.Effect<unknown, { readonly _tag: string }>) =>
  Effect.match(asked, { onFailure: ({ _tag }) => _tag, onSuccess: () => "done" })

const leg = (account: string, side: "debit" | "credit") => ({ account, side, amount: 1n })

layer(memoryLedger, { excludeTestServices: true })("a caller over RPC", (it) => {
  /** A server of the test's own, and a client for each name. */
  const world = Effect.gen(function* () {
    const { url } = yield* openTcp({ tokens })
    const as = Effect.fnUntraced(function* (name?: string) {
      const way = yield* connect({ urls: [url], token: name === undefined ? undefined : tokenOf(name) })
      return way.ledger
    })
    const inside = yield* Ledger
    for (const account of ["shop:a", "shop:b", "till:1", "other:a"])
      yield* Effect.ignore(
        inside.dispatch({ ...open(account), commandId: `open-${account}` } as CommandInput)
      ) // an OpenAccount
    return { as, inside }
  })

  it.effect("without a known token gets Unauthenticated, and nothing is done", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { as, inside } = yield* world
        const before = (yield* inside.stats).committed
        for (const ledger of [yield* as(), yield* as("nobody")]) {
          assert.strictEqual(yield* outcome(ledger.dispatch(deposit("shop:a", 1n))), "Unauthenticated")
          assert.strictEqual(yield* outcome(ledger.strongBalance("shop:a")), "Unauthenticated")
          const [one] = yield* ledger.dispatchMany([deposit("shop:a", 1n)])
          assert.strictEqual(one && Result.isFailure(one) ? one.failure._tag : "done", "Unauthenticated")
        }
        assert.strictEqual((yield* inside.stats).committed, before)
      })
    )
  )

  it.effect("has a token of any characters but blanks from the environment", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const text = "geheim-größe-→"
        const { url } = yield* openTcp({
          tokens: [{ ...token("far", ["read"]), sha256: hashToken(text) }]
        })
        const optionsOf = (CHRONICLE_RPC_TOKEN: string) =>
          Effect.result(
            clientConfig.parse(ConfigProvider.fromUnknown({ CHRONICLE_RPC_URL: url, CHRONICLE_RPC_TOKEN }))
          )
        for (const given of [text, ` ${text}`]) {
          const { ledger } = yield* connect(Result.getOrThrow(yield* optionsOf(given)))
          assert.strictEqual(yield* outcome(ledger.trialBalance), "done")
        }
        // No node takes these.
        for (const given of ["two words", "of\ntwo lines", "behind ", "\ttab"])
          assert.isTrue(Result.isFailure(yield* optionsOf(given)), JSON.stringify(given))
      })
    )
  )

  it.effect("may do what its scopes allow and nothing else", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { as } = yield* world
        const asked = (ledger: Service) =>
          Effect.all([
            outcome(ledger.strongBalance("other:a")),
            outcome(ledger.trialBalance),
            outcome(ledger.dispatch(deposit("other:a", 1n))),
            outcome(ledger.dispatch({ _tag: "FreezeAccount", account: "other:a" })),
            outcome(ledger.dispatch({ _tag: "UnfreezeAccount", account: "other:a" }))
          ])
        const no = "Forbidden"
        assert.deepEqual(yield* asked(yield* as("reader")), ["done", "done", no, no, no])
        assert.deepEqual(yield* asked(yield* as("sender")), [no, no, "done", no, no])
        assert.deepEqual(yield* asked(yield* as("both")), ["done", "done", "done", no, no])
        assert.deepEqual(yield* asked(yield* as("boss")), ["done", "done", "done", "done", "done"])
      })
    )
  )

  it.effect("with account prefixes learns nothing of where another caller's hold goes", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { as, inside } = yield* world
        const shop = yield* as("shop")
        yield* inside.dispatch(open("shop:payer"))
        yield* inside.dispatch(deposit("shop:payer", 10n))
        yield* inside.dispatch(open("other:paid"))
        const hold = { _tag: "PlaceHold", account: "shop:payer", amount: 5n, to: "other:paid" } as const
        const { commandId } = yield* inside.dispatch(hold)
        const capture = { _tag: "CaptureHold", account: "shop:payer", hold: commandId, amount: 2n } as const
        const alone = yield* shop.dispatch(capture)
        const [among] = yield* shop.dispatchMany([capture])
        const receipts = [alone, among && Result.isSuccess(among) ? among.success : assert.fail()]
        for (const { postings, readToken } of receipts) {
          assert.deepStrictEqual(
            postings.map(({ account }) => account as string),
            ["shop:payer"]
          )
          assert.notInclude(readToken, "other")
        }
        assert.strictEqual((yield* inside.strongBalance("other:paid")).balance, 4n)
        // What became of it is found by its id all the same, as after an answer that was lost.
        for (const receipt of receipts) {
          const found = Option.getOrThrow(yield* shop.find(receipt.commandId))
          const placesOf = (legs: ReadonlyArray<{ readonly account: string; readonly hash: string }>) =>
            legs.map(({ account, hash }) => [account, hash])
          assert.deepStrictEqual(placesOf(found.legs), placesOf(receipt.postings))
          assert.isTrue(found.isPartial)
          const whole = Option.getOrThrow(yield* inside.find(receipt.commandId))
          assert.lengthOf(whole.legs, 2)
          assert.notProperty(whole, "isPartial")
        }
        const hidden = yield* inside.dispatch(deposit("other:paid", 1n))
        assert.isTrue(Option.isNone(yield* shop.find(hidden.commandId)))
      })
    )
  )

  it.effect("with account prefixes learns nothing of an account that a refused capture would have paid", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { as, inside } = yield* world
        const shop = yield* as("shop")
        yield* inside.dispatch(open("shop:refused"))
        yield* inside.dispatch(deposit("shop:refused", 10n))
        yield* inside.dispatch(open("other:frozen"))
        const hold = { _tag: "PlaceHold", account: "shop:refused", amount: 5n, to: "other:frozen" } as const
        const { commandId } = yield* inside.dispatch(hold)
        yield* inside.dispatch({ _tag: "FreezeAccount", account: "other:frozen", side: "credits" })
        const capture = { _tag: "CaptureHold", account: "shop:refused", hold: commandId } as const
        const [among] = yield* shop.dispatchMany([capture])
        const errors = [
          yield* Effect.flip(shop.dispatch(capture)),
          among && Result.isFailure(among) ? among.failure : assert.fail(),
          yield* Effect.flip(shop.dispatch({ ...capture, to: "shop:a" }))
        ]
        assert.deepStrictEqual(
          errors.map(({ _tag }) => _tag),
          ["Forbidden", "Forbidden", "InvalidCommand"]
        )
        for (const error of errors) {
          assert.notInclude(JSON.stringify(error) + error.message, "other:")
          assert.notInclude(JSON.stringify(error) + error.message, "frozen")
        }
        const told = yield* Effect.flip(inside.dispatch(capture))
        assert.deepInclude(told, { _tag: "AccountNotActive", account: "other:frozen", frozen: "credits" })
        assert.strictEqual((yield* inside.strongBalance("shop:refused")).held, 5n)
      })
    )
  )

  it.effect("with account prefixes may name no other account, in any place of a call", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { as, inside } = yield* world
        const shop = yield* as("shop")
        yield* inside.dispatch(deposit("other:a", 50n))
        const { commandId } = yield* inside.dispatch(transfer("other:a", "shop:a", 10n))
        yield* inside.dispatch(open("other:b"))
        const hidden = yield* inside.dispatch(transfer("other:a", "other:b", 1n))
        const journal = (...accounts: ReadonlyArray<string>): CommandInput => ({
          _tag: "PostJournal",
          legs: accounts.map((account, n) => leg(account, n === 0 ? "debit" : "credit"))
        })
        const refused: ReadonlyArray<readonly [string, Effect.Effect<unknown, { readonly _tag: string }>]> = [
          ["open", shop.dispatch(open("other:new"))],
          ["deposit", shop.dispatch(deposit("other:a", 1n))],
          ["withdraw", shop.dispatch({ _tag: "Withdraw", account: "other:a", amount: 1n })],
          ["transfer from", shop.dispatch(transfer("other:a", "shop:a", 1n))],
          ["transfer to", shop.dispatch(transfer("shop:a", "other:a", 1n))],
          [
            "where a hold goes",
            shop.dispatch({ _tag: "PlaceHold", account: "shop:a", amount: 1n, to: "other:b" })
          ],
          ["the first leg", shop.dispatch(journal("other:a", "shop:a"))],
          ["the last leg", shop.dispatch(journal("shop:a", "other:a"))],
          ["a prefix in the middle", shop.dispatch(deposit("my-shop:a", 1n))],
          ["balance", shop.balance("other:a")],
          ["strong balance", shop.strongBalance("other:a")],
          ["balance at", shop.balanceAt("other:a", { version: 1 })],
          ["history", shop.history("other:a")],
          ["statement", shop.statement("other:a")],
          ["accounts", shop.accounts()],
          ["contras", shop.contraBalances],
          ["trial balance", shop.trialBalance],
          ["trial balance at", shop.trialBalanceAt()],
          ["everybody's events", Stream.runHead(shop.subscribe())],
          ["others' events", Stream.runHead(shop.subscribe({ accountPrefix: "other:" }))],
          ["accounts of another prefix", shop.accounts({ prefix: "other:" })],
          ["the sum of a shorter prefix", shop.sum("sho")],
          ["events of a shorter prefix", Stream.runHead(shop.subscribe({ accountPrefix: "sho" }))]
        ]
        for (const [what, asked] of refused) assert.strictEqual(yield* outcome(asked), "Forbidden", what)
        const allowed: ReadonlyArray<readonly [string, Effect.Effect<unknown, { readonly _tag: string }>]> = [
          ["deposit", shop.dispatch(deposit("shop:a", 5n))],
          ["transfer", shop.dispatch(transfer("shop:a", "till:1", 1n))],
          ["journal", shop.dispatch(journal("shop:a", "shop:b"))],
          ["history", shop.history("till:1")],
          ["its own events", Stream.runHead(shop.subscribe({ accountPrefix: "shop:a" }))]
        ]
        for (const [what, asked] of allowed) assert.strictEqual(yield* outcome(asked), "done", what)
        const mine = yield* shop.transfer(commandId, {
          readToken: (yield* inside.dispatch(deposit("shop:a", 1n))).readToken
        })
        assert.strictEqual(mine._tag, "Some", "a party of a transfer sees it")
        assert.strictEqual((yield* shop.transfer(hidden.commandId))._tag, "None", "no other caller does")
      })
    )
  )

  it.effect("with account prefixes may have its own accounts audited, one at a time, and no others", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { url } = yield* openTcp({ tokens: [token("auditor", ["audit"], ["audited:"])] })
        const inside = yield* Ledger
        for (const account of ["audited:a", "unaudited:b"]) yield* inside.dispatch(open(account))
        const { ledger } = yield* connect({ urls: [url], token: tokenOf("auditor") })
        assert.isTrue((yield* ledger.verify({ account: AccountId.make("audited:a") })).ok)
        for (const asked of [{ account: AccountId.make("unaudited:b") }, {}])
          assert.strictEqual(yield* outcome(ledger.verify(asked)), "Forbidden")
      })
    )
  )

  it.effect("learns nothing of other accounts by a read token or a cursor", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { as, inside } = yield* world
        const shop = yield* as("shop")
        const { readToken } = yield* inside.dispatch(deposit("shop:a", 1n))
        const { commandId } = yield* inside.dispatch(transfer("shop:a", "shop:b", 1n))
        const withToken = (token: string) => [
          shop.balance("shop:a", { readToken: token }),
          shop.statement("shop:a", { readToken: token }),
          shop.transfer(commandId, { readToken: token }),
          shop.accounts({ prefix: "shop:", readToken: token }),
          shop.holdsByExpiry({ prefix: "shop:", readToken: token })
        ]
        // Whether the account exists, and how many events it has, makes no difference.
        for (const other of ["other:a@1", "other:a@999999", "other:none@1", `${readToken},other:a@1`])
          for (const asked of withToken(other)) {
            const error = yield* Effect.flip(asked as Effect.Effect<unknown, { readonly _tag: string }>)
            assert.strictEqual(error._tag, "Forbidden", other)
            assert.notInclude(String(error), "999999")
          }
        for (const asked of withToken(readToken)) assert.strictEqual(yield* outcome(asked), "done")
        for (const asked of withToken("other:a")) assert.strictEqual(yield* outcome(asked), "InvalidCommand")
        // One that is too long is not looked at, whatever it names: a node would do nothing else meanwhile.
        for (const asked of withToken(`${"shop:a@1,".repeat(6_000)}other:a@1`))
          assert.strictEqual(yield* outcome(asked), "InvalidCommand")
        assert.strictEqual(yield* outcome(shop.accounts({ cursor: "other:a" })), "Forbidden")
      })
    )
  )

  it("meets no option of a query of which it is unknown whether it names accounts", () => {
    const naming = new Set(["account", "readToken", "accountPrefix", "prefix"])
    // A version, bounds, or (of a subscription) writers of the log and how far each was read. A counterparty only chooses among
    // lines of an account of the caller's own, which show it anyway.
    const namingNone = new Set([
      "commandId",
      "types",
      "counterparty",
      "limit",
      "from",
      "to",
      "expiringBefore",
      "by",
      "axis",
      "version",
      "recordedAt",
      "effectiveAt",
      "knownAt",
      "asset",
      "after"
    ])
    // That of `accounts` is an account, and a caller of few accounts may only ask with a prefix of its own, as about the holds of all
    // accounts; that of a statement is a version, that of the holds of an account a hold.
    const cursors = new Set(["accounts", "statement", "holds", "holdsByExpiry"])
    for (const [name, query] of queryEntries)
      for (const option of Object.keys(payloadFieldsOf(query) ?? {}))
        assert.isTrue(
          naming.has(option) || namingNone.has(option) || (option === "cursor" && cursors.has(name)),
          `${name}: ${option}: if it names accounts, Authorization.ts must check them`
        )
  })

  it.effect("with command id prefixes neither takes nor learns the ids of others", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { as, inside } = yield* world
        const numbered = yield* as("numbered")
        yield* inside.dispatch(deposit("other:a", 1n, "taken"))
        const refused = [
          deposit("other:a", 1n, "taken"),
          deposit("other:a", 2n, "taken"),
          deposit("other:a", 1n, "free"),
          deposit("other:a", 1n, "my-numbered:1"),
          deposit("other:a", 1n)
        ]
        const errors = yield* Effect.forEach(refused, (command) => Effect.flip(numbered.dispatch(command)))
        for (const error of errors) assert.strictEqual(error._tag, "Forbidden")
        assert.strictEqual(new Set(errors.map(({ message }) => message)).size, 1)
        assert.strictEqual(yield* outcome(inside.dispatch(deposit("other:a", 1n, "free"))), "done")
        const results = yield* numbered.dispatchMany([
          deposit("other:a", 1n, "numbered:1"),
          deposit("other:a", 1n, "taken"),
          deposit("other:a", 1n, "numbered:2")
        ])
        assert.deepEqual(
          results.map((one) => (Result.isSuccess(one) ? "done" : one.failure._tag)),
          ["done", "Forbidden", "done"]
        )
      })
    )
  )

  it.effect("is refused single commands of a batch, not the batch", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { as } = yield* world
        const shop = yield* as("shop")
        const results = yield* shop.dispatchMany([
          deposit("shop:a", 1n),
          deposit("other:a", 1n),
          { _tag: "CloseAccount", account: "shop:b" },
          deposit("till:1", 1n),
          { _tag: "Group", commands: [{ _tag: "CloseAccount", account: "shop:b" }] },
          {
            _tag: "Group",
            commands: [
              { _tag: "Deposit", account: "shop:a", amount: 1n },
              { _tag: "Deposit", account: "other:a", amount: 1n }
            ]
          }
        ])
        assert.deepEqual(
          results.map((one) => (Result.isSuccess(one) ? "done" : one.failure._tag)),
          ["done", "Forbidden", "Forbidden", "done", "Forbidden", "Forbidden"]
        )
      })
    )
  )

  it.effect("cannot write another name than its own into its events", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const heard: Array<CommandInput> = []
        const ledger: Service = {
          ...inside,
          dispatch: (command) => {
            heard.push(command)
            return inside.dispatch(command)
          }
        }
        const { url } = yield* openTcp({ tokens, ledger })
        const both = yield* connect({ urls: [url], token: tokenOf("both") })
        yield* both.ledger.dispatch({
          ...deposit("other:a", 1n),
          context: { caller: "boss", correlationId: "42" }
        })
        yield* both.ledger.dispatch(deposit("other:a", 1n))
        assert.deepEqual(
          heard.map(({ context }) => context),
          [{ caller: "both", correlationId: "42" }, { caller: "both" }]
        )
      })
    )
  )

  it.effect("may show its token once, in the request that opens a WebSocket", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { url, port } = yield* openWebSocket({ tokens })
        const plain = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/rpc`))
        assert.strictEqual(plain.status, 426)
        assert.strictEqual(plain.headers.get("upgrade"), "websocket")
        assert.strictEqual(plain.headers.get("content-type"), "application/problem+json")
        assert.deepInclude(yield* Effect.promise(() => plain.json()), { type: "about:blank", status: 426 })
        const ask = Effect.fnUntraced(function* (headers: Readonly<Record<string, string>>) {
          const socket = yield* Socket.makeWebSocket(url, { headers })
          const writer = yield* socket.writer
          const { pull } = yield* socket.reader
          yield* writer.write('{"_tag":"Request","id":"1","tag":"health","payload":null,"headers":[]}\n')
          return String((yield* pull)[0])
        }, Effect.provide(NodeSocket.layerWebSocketConstructor))
        assert.include(yield* ask({ authorization: "Bearer secret-reader" }), '"ready":true')
        assert.include(yield* ask({ authorization: "Bearer wrong" }), "Unauthenticated")
        assert.include(yield* ask({}), "Unauthenticated")
      })
    )
  )

  it.effect("is refused a WebSocket without tokens if it is a web page", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const open = yield* openWebSocket()
        const page = { connection: "Upgrade", upgrade: "websocket", origin: "https://evil.example" }
        const answered = yield* Effect.promise(
          () =>
            new Promise<number | undefined>((resolve) => {
              const headers = {
                ...page,
                "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
                "sec-websocket-version": "13"
              }
              get({ host: "127.0.0.1", port: open.port, path: "/rpc", headers }, (response) =>
                resolve(response.statusCode)
              ).on("upgrade", (response) => resolve(response.statusCode))
            })
        )
        assert.strictEqual(answered, 403)
      })
    )
  )

  it.effect("is named in a bounded number of log lines when it is refused, without its token", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const lines: Array<string> = []
        const logger = Logger.make(({ message }) => {
          lines.push(String(message))
        })
        yield* Effect.gen(function* () {
          const { url } = yield* openTcp({ tokens, limits: { refusalLinesMax: 5 }, isLogged: true })
          const reader = yield* connect({ urls: [url], token: tokenOf("reader") })
          for (let n = 0; n < 30; n++) yield* outcome(reader.ledger.dispatch(deposit("shop:a", 1n)))
        }).pipe(
          Effect.provideService(Logger.CurrentLoggers, new Set([logger])),
          Effect.provideService(References.MinimumLogLevel, "Info")
        )
        const refusals = lines.filter((line) => line.includes("refused"))
        assert.lengthOf(refusals, 5)
        assert.match(
          refusals[0] ?? "",
          /refused reader at 127\.0\.0\.1: dispatch: .*scope command is missing/
        )
        assert.isFalse(lines.some((line) => line.includes("secret-")))
      })
    )
  )

  it.effect("meets no listener whose host gave limits that are none", () =>
    Effect.scoped(
      Effect.gen(function* () {
        for (const ratePerSecond of [0, Number.NaN]) {
          const opened = yield* Effect.exit(openTcp({ tokens, limits: { ratePerSecond } }))
          assert.isTrue(
            Exit.isFailure(opened) && Cause.pretty(opened.cause).includes("a limit of RPC, ratePerSecond: ")
          )
        }
      })
    )
  )

  it.effect("above its rate is told when to come again, while others are served", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { url } = yield* openTcp({ tokens, limits: { ratePerSecond: 2 } })
        const fast = yield* connect({ urls: [url], token: tokenOf("reader") })
        const calm = yield* connect({ urls: [url], token: tokenOf("both") })
        const outcomes = yield* Effect.all(
          Array.from({ length: 60 }, () => Effect.result(fast.ledger.trialBalance)),
          { concurrency: "unbounded" }
        )
        const refused = outcomes.flatMap((one) => (Result.isFailure(one) ? [one.failure] : []))
        assert.isAtLeast(refused.length, 20)
        for (const error of refused) {
          if (error._tag !== "Overloaded") return assert.fail(error._tag)
          assert.isAtLeast(error.retryAfterMs, 1)
        }
        assert.strictEqual(yield* outcome(calm.ledger.trialBalance), "done")
      })
    )
  )

  it("is found by the hash of its token, which a faulty configuration does not show", () => {
    const lookup = makeLookup(tokens)
    assert.strictEqual(lookup("secret-shop")?.name, "shop")
    assert.isUndefined(lookup("secret-sho"))
    assert.isUndefined(lookup(hashToken("secret-shop")))
    assert.isTrue(anyone.scopes.has("admin"))
    const secret = "very-secret"
    for (const [json, where] of [
      [secret, "must be a JSON array"],
      ["{}", "must be a JSON array"],
      ["[]", "must be a JSON array"],
      [`[{"name":"a","sha256":"${secret}","scopes":["read"]}]`, "entry 1 "],
      [`[{"name":"a","sha256":"${hashToken("x")}","scopes":["everything"]}]`, "entry 1 "],
      [JSON.stringify([token("a", ["read"]), token("a", ["admin"])]), "entries 1 and 2"],
      // A mistyped field would leave the caller without the bound that was meant.
      [
        JSON.stringify([token("b", ["read"]), { ...token("a", ["command"]), account: ["shop:"] }]),
        "entry 2 "
      ],
      [JSON.stringify([{ ...token("a", ["command"]), commandId: ["shop-"] }]), "entry 1 "],
      // Whose of the two it is would be told by their order.
      [
        JSON.stringify([
          token("c", ["read"]),
          token("a", ["read"], ["shop:"]),
          { ...token("a", ["admin"]), name: "b" }
        ]),
        "entries 2 and 3"
      ]
    ] as const) {
      const parsed = parseTokens(Redacted.make(json))
      if (Result.isSuccess(parsed)) return assert.fail(`accepted ${json}`)
      assert.notInclude(parsed.failure, secret)
      assert.include(parsed.failure, where)
    }
  })

  it.effect("are those of the variable or of the file, and of neither where both are set", () =>
    Effect.gen(function* () {
      const json = JSON.stringify([token("a", ["read"])])
      const files = FileSystem.layerNoop({ readFileString: () => Effect.succeed(json) })
      const read = (variables: Readonly<Record<string, string>>) =>
        Effect.map(readTokens, (found) => found.map(({ name }) => name)).pipe(
          Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables)),
          Effect.provide(files)
        )
      const [inVariable, inFile] = [
        { CHRONICLE_RPC_TOKENS: json },
        { CHRONICLE_RPC_TOKENS_FILE: "tokens.json" }
      ]
      assert.deepStrictEqual(yield* read({}), [])
      assert.deepStrictEqual(yield* read({ ...inVariable, CHRONICLE_RPC_TOKENS_FILE: "" }), ["a"])
      assert.deepStrictEqual(yield* read({ ...inFile, CHRONICLE_RPC_TOKENS: "" }), ["a"])
      const both = yield* Effect.flip(read({ ...inVariable, ...inFile }))
      assert.strictEqual(both._tag, "ServerSettingsInvalid")
      assert.match(both.message, /^CHRONICLE_RPC_TOKENS and CHRONICLE_RPC_TOKENS_FILE exclude each other/)
    })
  )
})
