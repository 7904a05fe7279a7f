/** The conventions of the HTTP API: idempotency, statuses, problem documents, ETags, and questions that are read strictly. */
import { assert, describe, layer, it as plain } from "@effect/vitest"
import { Clock, Effect, Result } from "effect"
import {
  CommandError,
  Indeterminate,
  InvalidCommand,
  QueryError,
  Unavailable
} from "../../src/domain/Errors.ts"
import { problemList } from "../../src/http/api/Problems.ts"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { type Send, sendInMemory } from "../support/httpWorld.ts"
import { settable } from "../support/settableClock.ts"

type Json = Readonly<Record<string, unknown>>

/** An answer with its body as JSON. */
const read = (response: Promise<Response>) =>
  Effect.promise(async () => {
    const answer = await response
    const text = await answer.text()
    return {
      status: answer.status,
      headers: answer.headers,
      text,
      body: (text === "" ? {} : JSON.parse(text)) as Json // every document of the API is an object or, where a test says so, a list
    }
  })

const openAccount = (account: string) => ({
  account,
  asset: "USD/2",
  owner: "Ann",
  commandId: `open-${account}`
})

const textOfBigInt = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value)

let made = 0
/** An account of the test's own, with money in it. */
const funded = Effect.fnUntraced(function* (amount = 1_000n) {
  const ledger = yield* Ledger
  const account = `h-${made++}`
  yield* ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ann" })
  const { readToken } = yield* ledger.dispatch({ _tag: "Deposit", account, amount })
  return { account, readToken }
})

layer(memoryLedger, { excludeTestServices: true })("a command over HTTP", (it) => {
  it.effect("is answered with 201 and its place, and again with 200 and the same receipt", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const first = yield* read(send("/v1/accounts", { json: openAccount("once") }))
        const again = yield* read(send("/v1/accounts", { json: openAccount("once") }))
        assert.deepEqual([first.status, again.status], [201, 200])
        assert.strictEqual(first.headers.get("location"), "/v1/accounts/once")
        assert.strictEqual(first.headers.get("chronicle-read-token"), "once@1")
        assert.isNull(first.headers.get("idempotency-replayed"))
        assert.strictEqual(again.headers.get("idempotency-replayed"), "true")
        assert.strictEqual(again.text, first.text)
      })
    )
  )

  it.effect("on very many accounts has its read token in the body, where a header has no room for it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const ids = Array.from({ length: 200 }, (_, nth) => `many-${nth}`.padEnd(64, "m"))
        const group = (commandId: string, commands: ReadonlyArray<Json>) =>
          read(send("/v1/groups", { json: { commandId, commands } }))
        const opening = ids.map((account) => ({
          _tag: "OpenAccount",
          account,
          asset: "USD/2",
          owner: "Ann",
          overdraftLimit: "1"
        }))
        const first = yield* group("many-0", opening.slice(0, 100))
        assert.strictEqual(first.headers.get("chronicle-read-token"), first.body.readToken)
        yield* group("many-1", opening.slice(100))
        const transfers = ids
          .slice(100)
          .map((to, nth) => ({ _tag: "Transfer", from: ids[nth], to, amount: "1" }))
        const moved = yield* group("many-2", transfers)
        assert.strictEqual(moved.status, 201)
        assert.isNull(moved.headers.get("chronicle-read-token"))
        const readToken = String(moved.body.readToken)
        assert.lengthOf(readToken.split(","), 200)
        const view = yield* (yield* Ledger).balance(ids[0] ?? "", { readToken })
        assert.strictEqual(view.balance, -1n)
      })
    )
  )

  it.effect("of a hundred twins at once is done once, and all get the receipt", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const twin = () =>
          read(
            send(`/v1/accounts/${account}/deposits`, { json: { amount: "5", commandId: `twin-${account}` } })
          )
        const answers = yield* Effect.all(Array.from({ length: 100 }, twin), { concurrency: "unbounded" })
        assert.lengthOf(
          answers.filter(({ status }) => status === 201),
          1
        )
        assert.lengthOf(
          answers.filter(
            ({ status, headers }) => status === 200 && headers.get("idempotency-replayed") === "true"
          ),
          99
        )
        assert.strictEqual(new Set(answers.map(({ text }) => text)).size, 1)
        const { balance } = yield* (yield* Ledger).strongBalance(account)
        assert.strictEqual(balance, 1_005n)
      })
    )
  )

  it.effect("takes its id from the header or the body, and refuses two that differ", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const deposit = (json: Json, headers: Record<string, string> = {}) =>
          read(send(`/v1/accounts/${account}/deposits`, { json, headers }))
        const key = { "idempotency-key": `key-${account}` }
        const plainKey = yield* deposit({ amount: "1" }, key)
        assert.strictEqual(plainKey.body.commandId, `key-${account}`)
        const quoted = yield* deposit({ amount: "1" }, { "idempotency-key": `"key-${account}"` })
        assert.strictEqual(quoted.status, 200)
        const both = yield* deposit({ amount: "1", commandId: `key-${account}` }, key)
        assert.strictEqual(both.text, plainKey.text)
        const differing = yield* deposit({ amount: "1", commandId: "other" }, key)
        assert.deepEqual([differing.status, differing.body.type], [400, "/docs#InvalidCommand"])
        assert.deepInclude((differing.body.faults as ReadonlyArray<Json>)[0], { path: ["commandId"] })
        const otherBody = yield* deposit({ amount: "2" }, key)
        assert.deepEqual([otherBody.status, otherBody.body.type], [422, "/docs#CommandIdReused"])
        const none = yield* deposit({ amount: "1" })
        assert.strictEqual(none.status, 201)
        assert.isString(none.body.commandId)
      })
    )
  )

  it.effect(
    "may be sent to its resource or, by its tag, to /v1/commands, and its outcome is found by its id",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const send = yield* sendInMemory()
          const [{ account: from }, { account: to }] = [yield* funded(), yield* funded()]
          const sent = yield* read(
            send("/v1/transfers", { json: { from, to, amount: "7", commandId: `t-${from}` } })
          )
          assert.strictEqual(sent.headers.get("location"), `/v1/transfers/t-${from}`)
          const json = { _tag: "Transfer", from, to, amount: "7", commandId: `t-${from}` }
          const again = yield* read(send("/v1/commands", { json }))
          assert.deepEqual([again.status, again.text], [200, sent.text])
          const asked = yield* read(send(`/v1/commands/t-${from}`))
          assert.deepEqual([asked.status, asked.body.commandId], [200, `t-${from}`])
          const unknown = yield* read(send("/v1/commands/never-sent"))
          assert.deepEqual([unknown.status, unknown.body.type], [404, "/docs#NotFound"])
        })
      )
  )

  it.effect.each(["pay/2026/11/1.5@shop.example=+", "/".repeat(100), "=+./@:_-", "a//b"])(
    "may have the id %j, and is found, captured and reversed by it in a path",
    (name) =>
      Effect.scoped(
        Effect.gen(function* () {
          const send = yield* sendInMemory()
          const { account } = yield* funded()
          const id = `${account}${name}`
          const inPath = encodeURIComponent(id)
          const hold = { commandId: id, amount: "5" }
          const placed = yield* read(send(`/v1/accounts/${account}/holds`, { json: hold }))
          assert.deepEqual([placed.status, placed.headers.get("location")], [201, `/v1/commands/${inPath}`])
          const found = yield* read(send(`/v1/commands/${inPath}`))
          assert.deepEqual([found.status, found.body.commandId], [200, id])
          const capture = { commandId: `${id}.c` }
          const captured = yield* read(
            send(`/v1/accounts/${account}/holds/${inPath}/capture`, { json: capture })
          )
          assert.strictEqual(captured.status, 201)
          const reversed = yield* read(
            send(`/v1/transactions/${inPath}.c/reversals`, { json: { reason: "returned" } })
          )
          assert.deepEqual([reversed.status, reversed.body.commandId], [201, `~r1~${id}.c`])
          const location = reversed.headers.get("location") ?? ""
          assert.strictEqual((yield* read(send(location))).body.commandId, `~r1~${id}.c`)
        })
      )
  )

  it.effect("that is one of a group and names a closed hold is told how and when it ended", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const at = `/v1/accounts/${account}/holds`
        const group = { commandId: `${account}:g`, commands: [{ _tag: "PlaceHold", account, amount: "5" }] }
        assert.strictEqual((yield* read(send("/v1/groups", { json: group }))).status, 201)
        const end = yield* read(send(`${at}/${account}:g/release`, { json: { commandId: `${account}:r` } }))
        assert.strictEqual(end.status, 201)
        const again = yield* read(send(`${at}/${account}:g/release`, { json: {} }))
        const closed = { hold: `${account}:g`, how: "released", at: end.body.recordedAt }
        assert.deepInclude(again.body, { type: "/docs#HoldClosed", status: 409, ...closed })
        const commands = [{ _tag: "ReleaseHold", account, hold: `${account}:g` }]
        const inGroup = yield* read(send("/v1/groups", { json: { commands } }))
        assert.deepInclude(inGroup.body, { type: "/docs#GroupRejected", status: 422, index: 0 })
        assert.deepInclude(inGroup.body.rejection as Json, { _tag: "HoldClosed", ...closed })
      })
    )
  )

  it.effect("that reverses has the id of its original and n, which a key may say and may not change", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const original = `paid-${account}`
        yield* (yield* Ledger).dispatch({ _tag: "Deposit", account, amount: 70n, commandId: original })
        const path = `/v1/transactions/${original}/reversals`
        const reverse = (json: Json, key?: string) =>
          read(send(path, { json, headers: key === undefined ? {} : { "idempotency-key": key } }))
        const half = { amount: "30", reason: "returned" }
        const [ofKey, ofBody] = [yield* reverse(half, "mine"), yield* reverse({ ...half, commandId: "mine" })]
        for (const { status, body } of [ofKey, ofBody]) {
          assert.deepEqual([status, body.type], [400, "/docs#InvalidCommand"])
          assert.include(String(body.detail), `~r1~${original}`)
        }
        const named = { ...half, _tag: "Reverse", original, commandId: "mine" }
        assert.strictEqual((yield* read(send("/v1/commands", { json: named }))).status, 400)
        const first = yield* reverse(half, `~r1~${original}`)
        assert.deepEqual([first.status, first.body.commandId], [201, `~r1~${original}`])
        assert.strictEqual(first.headers.get("location"), `/v1/commands/~r1~${original}`)
        const again = yield* reverse(half)
        assert.deepEqual([again.status, again.text], [200, first.text])
        assert.strictEqual((yield* reverse({ ...half, amount: "31" }, `~r1~${original}`)).status, 422)
        assert.strictEqual((yield* reverse({ ...half, n: 2 }, `~r1~${original}`)).status, 400)
        assert.strictEqual((yield* reverse({ ...half, n: 2 }, `~r2~${original}`)).status, 201)
        assert.strictEqual((yield* (yield* Ledger).strongBalance(account)).balance, 1_010n)
      })
    )
  )

  it.effect("that reverses one which was never accepted is 404, and one that moved nothing is 400", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        yield* read(send("/v1/accounts", { json: openAccount("still") }))
        const reverse = (original: string) =>
          read(send(`/v1/transactions/${original}/reversals`, { json: { reason: "returned" } }))
        const { status, body } = yield* reverse("never-sent")
        assert.deepInclude(body, { type: "/docs#CommandNotFound", commandId: "never-sent" })
        assert.strictEqual(status, 404)
        assert.strictEqual((yield* reverse("open-still")).status, 400)
      })
    )
  )

  it.effect("names an account as the path does, and is of the route's kind", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const path = `/v1/accounts/${account}/deposits`
        for (const further of [{ account: "another" }, { _tag: "Withdraw" }]) {
          const answer = yield* read(send(path, { json: { amount: "1", ...further } }))
          assert.strictEqual(answer.status, 400, JSON.stringify(further))
        }
        const same = yield* read(send(path, { json: { amount: "1", account, _tag: "Deposit" } }))
        assert.strictEqual(same.status, 201)
      })
    )
  )

  it.effect("is refused with the path of each fault, in the words of JSON", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const json = { from: "a", to: "b", amount: 12, amonut: "12", effectiveAt: "2026-02-30" }
        const { status, body } = yield* read(send("/v1/transfers", { json }))
        assert.strictEqual(status, 400)
        const faults = new Map(
          (body.faults as ReadonlyArray<{ path: ReadonlyArray<string>; message: string }>).map(
            ({ path, message }) => [path.join("."), message]
          )
        )
        assert.deepEqual([...faults.keys()].toSorted(), ["amonut", "amount", "effectiveAt"])
        assert.include(faults.get("amount"), "string of whole minor units")
        assert.strictEqual(faults.get("effectiveAt"), "is no day of the calendar")
      })
    )
  )

  it.effect("says each thing once: a key that stands twice in one object is refused", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const twice = '"amount":"1","amount":"500"'
        const leg = (side: string) => `{"account":"${account}","side":"${side}",${twice}}`
        const bodies: ReadonlyArray<readonly [path: string, body: string, type?: string]> = [
          [`/v1/accounts/${account}/deposits`, `{${twice}}`],
          ["/v1/commands", `{"_tag":"Withdraw","_tag":"Deposit","account":"${account}","amount":"1"}`],
          ["/v1/journals", `{"legs":[${leg("debit")},${leg("credit")}]}`],
          ["/v1/groups", `{"commands":[{"_tag":"Deposit","account":"${account}",${twice}}]}`],
          ["/v1/batch", `{"_tag":"Deposit","account":"${account}",${twice}}`, "application/x-ndjson"],
          ["/v1/webhooks", '{"url":"https://a.example","url":"https://b.example"}']
        ]
        for (const [path, body, type = "application/json"] of bodies) {
          const text = yield* Effect.promise(async () => {
            const response = await send(path, { method: "POST", body, headers: { "content-type": type } })
            return response.text()
          })
          assert.include(text, '"status":400', path)
          assert.include(text, "stands twice in one object", path)
        }
        assert.strictEqual((yield* (yield* Ledger).strongBalance(account)).version, 2)
      })
    )
  )

  it.effect("reads an amount in one form alone, whichever field or route has it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const bodies: ReadonlyArray<readonly [path: string, (amount: string) => Json]> = [
          [`/v1/accounts/${account}/deposits`, (amount) => ({ amount })],
          [`/v1/accounts/${account}/holds`, (amount) => ({ amount })],
          ["/v1/commands", (amount) => ({ _tag: "Withdraw", account, amount })],
          ["/v1/groups", (amount) => ({ commands: [{ _tag: "Deposit", account, amount }] })],
          [`/v1/accounts/${account}/update`, (overdraftLimit) => ({ overdraftLimit })],
          [
            "/v1/journals",
            (amount) => ({
              legs: [
                { account, side: "debit", amount },
                { account: "external:bank", side: "credit", amount }
              ]
            })
          ]
        ]
        for (const [path, bodyOf] of bodies)
          for (const amount of ["007", "07", "+7", "-0", " 7", "7 ", "7.0", "0x7", "7n", "1e1", "٧", ""]) {
            const { status, body } = yield* read(send(path, { json: bodyOf(amount) }))
            assert.strictEqual(status, 400, `${path} ${amount}`)
            assert.include(JSON.stringify(body.faults), "string of whole minor units", `${path} ${amount}`)
          }
        assert.strictEqual((yield* (yield* Ledger).strongBalance(account)).version, 2)
      })
    )
  )

  it.effect("reads an instant as text or as epoch milliseconds", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const json = { amount: "1", commandId: `dated-${account}` }
        const instants = ["2001-09-09T01:46:40Z", "2001-09-09T03:46:40+02:00", 1_000_000_000_000]
        for (const effectiveAt of instants) {
          const answer = yield* read(
            send(`/v1/accounts/${account}/deposits`, { json: { ...json, effectiveAt } })
          )
          assert.include([200, 201], answer.status, String(effectiveAt))
        }
        const member = { _tag: "Deposit", account, amount: "1", effectiveAt: instants[0] }
        const grouped = yield* read(
          send("/v1/groups", { json: { commandId: `group-${account}`, commands: [member] } })
        )
        assert.strictEqual(grouped.status, 201)
        const [, , dated, second] = yield* (yield* Ledger).history(account)
        assert.strictEqual(dated?.effectiveAt, 1_000_000_000_000)
        assert.strictEqual(second?.effectiveAt, 1_000_000_000_000)
      })
    )
  )

  it.effect("is told what is wrong with an instant, as a parameter is", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const faultsOf = (path: string, json: object) =>
          Effect.map(read(send(path, { json })), ({ body }) => body.faults)
        const cases: ReadonlyArray<readonly [instant: unknown, message: RegExp]> = [
          ["2026-03-02T09:15", /^has no time zone: add Z/],
          ["2016-12-31T23:59:60Z", /^is no time of a day/],
          ["0000-01-01", /^is outside of the ledger's time/],
          ["17", /^is no instant: write 2026-03-02T09:15:00Z.*, or 12 to 15 digits of epoch milliseconds$/],
          [null, /^is no instant: write 2026-03-02T09:15:00Z/],
          [17.5, /^must be epoch milliseconds, a whole number$/]
        ]
        for (const [instant, message] of cases) {
          const dated = { amount: "1", effectiveAt: instant }
          const held = { amount: "1", expiresAt: instant }
          const member = { _tag: "Deposit", account: "a", ...dated }
          const told: ReadonlyArray<unknown> = [
            yield* faultsOf("/v1/accounts/a/deposits", dated),
            yield* faultsOf("/v1/accounts/a/holds", held),
            yield* faultsOf("/v1/groups", { commands: [member] })
          ]
          const paths = [["effectiveAt"], ["expiresAt"], ["commands", "0", "effectiveAt"]]
          for (const [nth, faults] of told.entries()) {
            assert.isTrue(Array.isArray(faults) && faults.length === 1, String(instant))
            const [fault] = faults as ReadonlyArray<{ readonly path: unknown; readonly message: string }> // as asserted
            assert.deepEqual(fault?.path, paths[nth])
            assert.match(fault?.message ?? "", message)
          }
        }
        const faultOf = (path: string, json: object) =>
          Effect.map(
            faultsOf(path, json),
            (faults) => (faults as ReadonlyArray<{ readonly message: string }>)[0]?.message ?? "" // as above
          )
        // What else may be wrong under such a name has words of its own.
        const metadata = { expiresAt: "x".repeat(257) }
        const long = yield* faultOf("/v1/accounts", { account: "b", asset: "USD/2", owner: "B", metadata })
        assert.strictEqual(long, "must have at most 256 characters")
        const stray = yield* faultOf("/v1/accounts/a/deposits", { amount: "1", expiresAt: null })
        assert.strictEqual(stray, "is not known here: no such field or option")
      })
    )
  )

  it.effect("with If-Match is done at that version alone", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account, readToken } = yield* funded()
        const balance = yield* read(
          send(`/v1/accounts/${account}`, { headers: { "chronicle-read-token": readToken } })
        )
        const etag = balance.headers.get("etag") ?? ""
        assert.strictEqual(etag, '"2"')
        const deposit = (ifMatch: string) =>
          read(
            send(`/v1/accounts/${account}/deposits`, {
              json: { amount: "1" },
              headers: { "if-match": ifMatch }
            })
          )
        assert.strictEqual((yield* deposit(etag)).status, 201)
        const late = yield* deposit(etag)
        assert.deepEqual([late.status, late.body.type, late.body.actual], [412, "/docs#VersionConflict", 3])
        const wrong = [
          "nonsense",
          '"3',
          '3"',
          '"3" "4"',
          '"3", "4"',
          'W/"3"',
          "*",
          '"03"',
          '"9007199254740993"',
          '""'
        ]
        for (const text of wrong) {
          const { status, body } = yield* deposit(text)
          assert.deepEqual([status, body.type], [400, "/docs#InvalidCommand"], text)
          assert.deepInclude((body.faults as ReadonlyArray<Json>)[0], { path: ["If-Match"] })
        }
        assert.strictEqual((yield* deposit(' "3" ')).status, 201)
        assert.strictEqual((yield* deposit("4")).status, 201, "digits may lack their quotes")
        const condition = { json: { amount: "1" }, headers: { "if-none-match": "*" } }
        assert.strictEqual((yield* read(send(`/v1/accounts/${account}/deposits`, condition))).status, 400)
      })
    )
  )

  it.effect("of a batch has one line, in order, whatever became of it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ limits: { batchMax: 2 } })
        const { account } = yield* funded()
        const deposit = (amount: string, commandId: string) =>
          JSON.stringify({ _tag: "Deposit", account, amount, commandId })
        const lines = [
          deposit("1", `b1-${account}`),
          "no json",
          JSON.stringify({ _tag: "Withdraw", account, amount: "1000000" }),
          "",
          deposit("1", `b1-${account}`),
          deposit("x", `b2-${account}`)
        ]
        const headers = { "content-type": "application/x-ndjson" }
        const answer = yield* Effect.promise(async () => {
          const response = await send("/v1/batch", { method: "POST", body: lines.join("\n"), headers })
          assert.strictEqual(response.headers.get("content-type"), "application/x-ndjson")
          return (await response.text())
            .trim()
            .split("\n")
            .map((line) => JSON.parse(line) as Json)
        })
        assert.deepEqual(
          answer.map(({ status, done }) => status ?? done),
          [201, 400, 422, 200, 400, 5]
        )
        assert.deepEqual(answer[3]?.receipt, answer[0]?.receipt)
        assert.deepInclude(answer[2]?.problem, { type: "/docs#InsufficientFunds" })
        assert.include(JSON.stringify(answer[4]), "string of whole minor units")
      })
    )
  )
})

layer(memoryLedger, { excludeTestServices: true })("a batch over HTTP", (it) => {
  const asTill = { authorization: "Bearer secret-till" }
  const headers = { "content-type": "application/x-ndjson", ...asTill }
  const tokens = [token("till", ["command"])]
  /** The status of each line. */
  const statuses = (send: Send, lines: ReadonlyArray<string>) =>
    Effect.promise(async () => {
      const response = await send("/v1/batch", { method: "POST", body: lines.join("\n"), headers })
      const answers = (await response.text()).trim().split("\n")
      return answers.slice(0, -1).map((line) => (JSON.parse(line) as Json).status)
    })

  it.effect("counts lines that are no commands against the rate of the caller", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens, ratePerSecond: 2, limits: { batchMax: 50 } })
        const garbage = Array.from({ length: 200 }, () => "no json")
        assert.deepEqual(
          yield* statuses(send, garbage),
          garbage.map((_, line) => (line < 50 ? 400 : 429))
        )
      })
    )
  )

  it.effect("counts the commands of a group against it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens, ratePerSecond: 10 })
        const { account } = yield* funded()
        const members = Array.from({ length: 30 }, () => ({ _tag: "Deposit", account, amount: "1" }))
        const group = () => read(send("/v1/groups", { json: { commands: members }, headers: asTill }))
        assert.deepEqual([(yield* group()).status, (yield* group()).status], [201, 429])
      })
    )
  )

  it.effect("sends nothing behind lines that were refused as a whole", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const { account } = yield* funded()
        let calls = 0
        const ledger = {
          ...inside,
          dispatchMany: ((commands) =>
            ++calls === 2
              ? Effect.fail(InvalidCommand.at("commands", "refused as a whole"))
              : inside.dispatchMany(commands)) satisfies typeof inside.dispatchMany
        }
        const send = yield* sendInMemory({ tokens, ledger, limits: { batchMax: 2 } })
        const lines = [1, 2, 3, 4, 5, 6].map((n) =>
          JSON.stringify({ _tag: "Deposit", account, amount: "1", commandId: `${account}-${n}` })
        )
        assert.deepEqual(yield* statuses(send, lines), [201, 201, 400, 400, 400, 400])
        assert.strictEqual(calls, 2)
        assert.strictEqual((yield* inside.strongBalance(account)).balance, 1_002n)
      })
    )
  )

  it.effect("sends nothing behind a line without a known outcome but what is sent with it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const { account } = yield* funded()
        let calls = 0
        const ledger = {
          ...inside,
          dispatchMany: ((commands) =>
            Effect.map(inside.dispatchMany(commands), (results) =>
              ++calls === 2
                ? [Result.fail(new Indeterminate({ commandId: `${account}-3` })), ...results.slice(1)]
                : results
            )) satisfies typeof inside.dispatchMany
        }
        const send = yield* sendInMemory({ tokens, ledger, limits: { batchMax: 2 } })
        const lines = [1, 2, 3, 4, 5, 6].map((n) =>
          JSON.stringify({ _tag: "Deposit", account, amount: "1", commandId: `${account}-${n}` })
        )
        assert.deepEqual(yield* statuses(send, lines), [201, 201, 504, 201, 503, 503])
        assert.strictEqual(calls, 2)
      })
    )
  )

  const deadlineMs = 1_000
  it.effect.each<[what: string, parts: ReadonlyArray<[outcomes: string, tookMs: number]>, sent: number]>([
    [
      "a line that had no outcome in all its time",
      [
        ["n1", 0],
        ["n1", deadlineMs],
        ["11", 0]
      ],
      2
    ],
    [
      "lines that together had none for as long",
      [
        ["nn", 400],
        ["nn", 600],
        ["11", 0]
      ],
      2
    ],
    [
      "such lines among faulty ones",
      [
        ["fn", 400],
        ["ff", 0],
        ["nf", 600],
        ["11", 0]
      ],
      3
    ],
    [
      "such lines among some that were done before",
      [
        ["rn", 400],
        ["rr", 0],
        ["nr", 600],
        ["11", 0]
      ],
      3
    ],
    [
      "none of these where one between them had an outcome",
      [
        ["nn", 600],
        ["n1", 600],
        ["nn", 600],
        ["11", 0]
      ],
      4
    ]
  ])("sends nothing behind %s but what is sent with it", ([, parts, sent]) =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const { account } = yield* funded()
        const { clock, pass } = settable(yield* Clock.Clock)
        const error = new Unavailable({ what: "an account", reason: "it is moving to another node" })
        const left = [...parts]
        const ledger = {
          ...inside,
          dispatchMany: ((commands) =>
            Effect.map(inside.dispatchMany(commands), (results) => {
              const [outcomes, tookMs] = left.shift() ?? ["", 0]
              pass(tookMs)
              const ofCommands = [...outcomes].filter((outcome) => outcome !== "f")
              return results.map((result, nth) => {
                if (ofCommands[nth] === "n") return Result.fail(error)
                const replayed = ofCommands[nth] === "r"
                return Result.map(result, (receipt) => ({ ...receipt, replayed }))
              })
            })) satisfies typeof inside.dispatchMany
        }
        const ledgerLimits = { commandDeadlineMs: deadlineMs }
        const send = yield* sendInMemory({ tokens, ledger, limits: { batchMax: 2 }, ledgerLimits, clock })
        const lines = [...parts.map(([outcomes]) => outcomes).join("")]
        const said = yield* statuses(
          send,
          lines.map((outcome, n) =>
            outcome === "f"
              ? "no json"
              : JSON.stringify({ _tag: "Deposit", account, amount: "1", commandId: `${account}-${n}` })
          )
        )
        const statusOf: Readonly<Record<string, number>> = { n: 503, f: 400, r: 200, 1: 201 }
        const expected = lines.map((outcome, n) => (n >= 2 * sent ? 503 : statusOf[outcome]))
        assert.deepEqual(said, expected)
        assert.lengthOf(left, parts.length - sent)
      })
    )
  )

  it.effect("takes a line for as much as a request of one command, and for no more", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens, limits: { bodyBytesMax: 300 } })
        const { account } = yield* funded()
        const deposit = (description: string) =>
          JSON.stringify({ _tag: "Deposit", account, amount: "1", description })
        const longest = deposit("x".repeat(300 - deposit("").length))
        const statusOfOne = (body: string) =>
          Effect.promise(async () => {
            const init = { method: "POST", body, headers: { ...asTill, "content-type": "application/json" } }
            return (await send("/v1/commands", init)).status
          })
        assert.deepEqual([yield* statusOfOne(longest), yield* statusOfOne(`${longest} `)], [201, 413])
        // Two bytes each, of which 300 characters would be within the bound.
        const ofBytes = deposit("é".repeat(150))
        assert.deepEqual(yield* statuses(send, [longest, `${longest} `, ofBytes]), [201, 400, 400])
      })
    )
  )

  it.effect("tells little of a line with many faults", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const body = JSON.stringify({ _tag: "PostJournal", legs: Array.from({ length: 40_000 }, () => ({})) })
        const answer = (path: string, type: string) =>
          Effect.promise(async () => {
            const response = await send(path, { method: "POST", body, headers: { "content-type": type } })
            return (await response.text()).length
          })
        assert.isBelow(yield* answer("/v1/batch", "application/x-ndjson"), 1_000)
        assert.isBelow(yield* answer("/v1/commands", "application/json"), 1_000)
      })
    )
  )

  it.effect(
    "has lines that end as on any machine, the last one perhaps not at all, and blank ones between",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const send = yield* sendInMemory()
          const { account } = yield* funded()
          const line = JSON.stringify({ _tag: "Deposit", account, amount: "1" })
          for (const [body, done] of [
            [`${line}\r\n\r\n \t\r\n${line}`, 2],
            [`\n\n${line}\n`, 1],
            [line, 1],
            ["\r\n \n", 0],
            ["", 0]
          ] as const) {
            const text = yield* Effect.promise(async () => {
              const response = await send("/v1/batch", { method: "POST", body, headers })
              return response.text()
            })
            const answers = text.split("\n").map((one) => (one === "" ? {} : (JSON.parse(one) as Json)))
            const statusesOfLines = answers.slice(0, -2).map(({ status }) => status)
            assert.deepEqual(
              statusesOfLines,
              Array.from({ length: done }, () => 201)
            )
            assert.deepEqual(answers.slice(-2), [{ done }, {}])
          }
        })
      )
  )

  it.effect("takes no header that stands for a field of one command", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        for (const header of ["idempotency-key", "if-match"]) {
          const init = { method: "POST", body: "{}", headers: { ...headers, [header]: '"1"' } }
          const { status, body } = yield* read(send("/v1/batch", init))
          assert.strictEqual(status, 400, header)
          assert.include(String(body.detail).toLowerCase(), header)
        }
      })
    )
  )
})

layer(memoryLedger, { excludeTestServices: true })("a question over HTTP", (it) => {
  it.effect("answers 304 where the client has the version", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const ask = (etag?: string) =>
          read(
            send(`/v1/accounts/${account}?consistency=strong`, {
              headers: etag === undefined ? {} : { "if-none-match": etag }
            })
          )
        const first = yield* ask()
        assert.deepEqual([first.status, first.body.balance], [200, "1000"])
        const known = yield* ask(first.headers.get("etag") ?? "")
        assert.deepEqual([known.status, known.text, known.headers.get("etag")], [304, "", '"2"'])
        for (const list of ['"1", "7"', '"2-gzip"', 'W/"1"', '"1,2"'])
          assert.strictEqual((yield* ask(list)).status, 200, list)
        for (const list of ['"1", W/"2"', '"2","7"', "*", ' "2" '])
          assert.strictEqual((yield* ask(list)).status, 304, list)
        for (const wrong of ['"2', '2"', "2", '"1" "2"', '"2",', '*, "2"', ""])
          assert.strictEqual((yield* ask(wrong)).status, 400, `If-None-Match ${wrong}`)
      })
    )
  )

  it.effect(
    "answers 304 with holds only while as much is held, for a hold expires without a new version",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const send = yield* sendInMemory()
          const { account } = yield* funded()
          const path = `/v1/accounts/${account}`
          const ask = (etag: string) =>
            read(send(`${path}?consistency=strong`, { headers: { "if-none-match": etag } }))
          yield* read(send(`${path}/holds`, { json: { amount: "5" } }))
          const held = yield* ask('"3"')
          assert.deepEqual([held.status, held.headers.get("etag")], [200, '"3;held=5"'])
          assert.strictEqual((yield* ask('"3;held=5"')).status, 304)
          // As the answer before a hold of 2 had expired.
          assert.strictEqual((yield* ask('"3;held=7"')).status, 200)
          const deposit = (ifMatch: string) =>
            read(send(`${path}/deposits`, { json: { amount: "1" }, headers: { "if-match": ifMatch } }))
          assert.strictEqual((yield* deposit('"2;held=5"')).status, 412)
          assert.strictEqual((yield* deposit('"3;held=5"')).status, 201, "of the version alone")
          for (const wrong of ['"3;held="', '"3;held=05"', '";held=5"', "4;held=5"])
            assert.strictEqual((yield* deposit(wrong)).status, 400, wrong)
        })
      )
  )

  it.effect("of the past is asked by version or instant, and of the present by its consistency", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account } = yield* funded()
        const ask = (query: string) => read(send(`/v1/accounts/${account}?${query}`))
        assert.strictEqual((yield* ask("version=1")).body.balance, "0")
        const { recordedAt } = (yield* ask("version=2")).body
        assert.deepInclude((yield* ask(`knownAt=${recordedAt}`)).body, { version: 2, knownAt: recordedAt })
        const iso = encodeURIComponent(new Date(Number(recordedAt)).toISOString())
        assert.strictEqual((yield* ask(`knownAt=${iso}`)).body.version, 2)
        assert.strictEqual((yield* ask("consistency=strong")).body.version, 2)
        for (const wrong of [
          "version=1&consistency=strong",
          "version=1&knownAt=2026-01-01",
          "consistency=weak"
        ])
          assert.strictEqual((yield* ask(wrong)).status, 400, wrong)
        const both = (yield* ask("version=1&knownAt=2026-01-01")).body.detail
        assert.strictEqual(both, "version: give exactly one of version and knownAt")
      })
    )
  )

  it.effect("about what all accounts have together is asked without a prefix", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        yield* funded()
        const { sum } = yield* Ledger
        for (const path of ["/v1/sums", "/v1/sums/"]) {
          const { status, body } = yield* read(send(path))
          assert.strictEqual(status, 200, path)
          const expected = yield* sum("", { knownAt: Number(body.knownAt) })
          assert.isAbove(expected.sums.length, 0)
          assert.deepEqual(body.sums, JSON.parse(JSON.stringify(expected.sums, textOfBigInt)), path)
        }
        const one = yield* read(send("/v1/sums?asset=USD%2F2&prefix=h"))
        assert.deepEqual([one.status, one.body.type], [400, "/docs#InvalidCommand"])
      })
    )
  )

  it.effect("is refused where a parameter is misspelt, given twice or no value of its kind", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const { account, readToken } = yield* funded()
        const wrong: ReadonlyArray<readonly [query: string, path: string]> = [
          ["limt=1", "limt"],
          ["limit=0", "limit"],
          ["limit=1001", "limit"],
          ["limit=9007199254740992", "limit"],
          ["limit=1&limit=2", "limit"],
          ["limit=1e3", "limit"],
          ["from=yesterday", "from"],
          ["from=2026-01-02&to=2026-01-01", "from"],
          ["by=sideways", "by"],
          ["axis=sideways", "axis"],
          ["by=recorded&axis=effective", "by"],
          ["types=Deposited&types=Invented", "types"],
          [Array.from({ length: 17 }, () => "types=Deposited").join("&"), "types"],
          [Array.from({ length: 101 }, () => "types=Invented").join("&"), "query"],
          ["readToken=a%401", "readToken"]
        ]
        for (const [query, path] of wrong) {
          const { status, body } = yield* read(send(`/v1/accounts/${account}/statement?${query}`))
          assert.deepEqual([status, body.type], [400, "/docs#InvalidCommand"], query)
          const [fault] = body.faults as ReadonlyArray<{ readonly path: ReadonlyArray<string> }>
          assert.strictEqual(fault?.path[0], path, query)
        }
        const headers = { "chronicle-read-token": readToken }
        for (const order of ["by=effective", "axis=effective", "by=effective&axis=effective"]) {
          const { status } = yield* read(send(`/v1/accounts/${account}/statement?${order}`, { headers }))
          assert.strictEqual(status, 200, order)
        }
        const token = yield* read(
          send(`/v1/accounts/${account}/statement`, { headers: { "chronicle-read-token": "nonsense" } })
        )
        assert.strictEqual(token.status, 400)
        for (const readToken of [`${account}@1@junk`, `${account}@1@`, `${account}@0x1`]) {
          const answer = yield* read(
            send(`/v1/accounts/${account}/statement`, { headers: { "chronicle-read-token": readToken } })
          )
          assert.strictEqual(answer.status, 400, readToken)
        }
        for (const last of ["0x10", "1e3", "", "-1", "1.5", "3", "9007199254740991"]) {
          const answer = yield* read(
            send(`/v1/accounts/${account}/events`, {
              headers: { accept: "text/event-stream", "last-event-id": last }
            })
          )
          assert.strictEqual(answer.status, 400, `Last-Event-ID ${last}`)
        }
        // Neither form of this path takes a read token: the log answers, and has all that was acknowledged.
        for (const accept of ["application/json", "text/event-stream"]) {
          const { status, body } = yield* read(
            send(`/v1/accounts/${account}/events`, {
              headers: { accept, "chronicle-read-token": `${account}@1` }
            })
          )
          const [fault] = body.faults as ReadonlyArray<{ readonly path: ReadonlyArray<string> }>
          assert.deepEqual([status, fault?.path[0]], [400, "Chronicle-Read-Token"], accept)
        }
        // A reader that has the last event waits for the next.
        const caughtUp = yield* Effect.promise(() =>
          send(`/v1/accounts/${account}/events`, {
            headers: { accept: "text/event-stream", "last-event-id": "2" }
          })
        )
        assert.strictEqual(caughtUp.status, 200)
        yield* Effect.promise(async () => caughtUp.body?.cancel())
      })
    )
  )

  it.effect(
    "is told where its fault is: in a parameter that stands twice, one of another route, or a header",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const send = yield* sendInMemory()
          const { account, readToken } = yield* funded()
          const of = `/v1/accounts/${account}`
          const withToken = { "chronicle-read-token": readToken }
          const [none, stray] = ["is no parameter: this route takes none", "is not taken by this route"]
          const stream = { accept: "text/event-stream" }
          const cases: ReadonlyArray<
            readonly [path: string, headers: Readonly<Record<string, string>>, detail: string]
          > = [
            [`${of}?version=1&version=2`, {}, "version: must be there once"],
            [`${of}?consistency=strong&consistency=strong`, {}, "consistency: must be there once"],
            [`${of}/statement?limit=1&limit=1`, {}, "limit: must be there once"],
            [`${of}/events?after=1&after=1`, {}, "after: must be there once"],
            ["/v1/accounts?prefix=a&prefix=b", {}, "prefix: must be there once"],
            ["/v1/verify?account=a&account=a", {}, "account: must be there once"],
            ["/v1/stats?x=1", {}, `x: ${none}`],
            ["/v1/contra-balances?prefix=x", {}, `prefix: ${none}`],
            ["/v1/stats", withToken, `Chronicle-Read-Token: ${stray}`],
            ["/v1/trial-balance", withToken, `Chronicle-Read-Token: ${stray}`],
            ["/v1/trial-balance?knownAt=2026-01-01", withToken, `Chronicle-Read-Token: ${stray}`],
            ["/v1/feed", { "last-event-id": "!" }, "Last-Event-ID: is no cursor of a subscription"],
            ["/v1/feed?after=!", {}, "after: is no cursor of a subscription"],
            [
              `${of}/events`,
              { ...stream, "last-event-id": "x" },
              "Last-Event-ID: must be the version of an event"
            ]
          ]
          for (const [path, headers, detail] of cases) {
            const { status, body } = yield* read(send(path, { headers }))
            assert.deepEqual([status, body.detail], [400, detail], path)
          }
          // Beyond the account's last event, by either name.
          for (const [query, headers, name] of [
            ["", { ...stream, "last-event-id": "9999" }, "Last-Event-ID"],
            ["?after=9999", stream, "after"],
            ["?after=9999999999999999", stream, "after"]
          ] as const) {
            const { status, body } = yield* read(send(`${of}/events${query}`, { headers }))
            const [fault] = body.faults as ReadonlyArray<{ readonly path: ReadonlyArray<string> }>
            assert.deepEqual([status, fault?.path], [400, [name]], name)
          }
          const both = yield* read(send(`${of}?version=1&consistency=strong`))
          assert.include(String(both.body.detail), "does not go together with the other parameters")
          const json = { amount: "1" }
          for (const key of ["a, b", ""]) {
            const { status, body } = yield* read(
              send(`${of}/deposits`, { json, headers: { "idempotency-key": key } })
            )
            const [fault] = body.faults as ReadonlyArray<{ readonly path: ReadonlyArray<string> }>
            assert.deepEqual([status, fault?.path], [400, ["Idempotency-Key"]], key)
            assert.match(
              String(body.detail),
              /^Idempotency-Key: must be there once, and must be 1 to 128 characters/
            )
          }
        })
      )
  )

  it.effect(
    "for the events of an account gets a stream where it asks for one by name, in any case and with a weight",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { dispatch } = yield* Ledger
          yield* dispatch({ _tag: "OpenAccount", account: "accepted", asset: "USD/2", owner: "Ann" })
          const send = yield* sendInMemory()
          for (const [accept, type] of [
            ["text/event-stream", "text/event-stream"],
            ["Text/Event-Stream", "text/event-stream"],
            ["application/json;q=0.5, text/event-stream; q=0.8", "text/event-stream"],
            ["text/event-stream;q=0, application/json", "application/json"],
            ["text/event-stream; Q=0.00", "application/json"],
            ["text/event-streams", "application/json"],
            ["*/*", "application/json"]
          ] as const) {
            const response = yield* Effect.promise(() =>
              send("/v1/accounts/accepted/events", { headers: { accept } })
            )
            assert.strictEqual(response.headers.get("content-type"), type, accept)
            yield* Effect.promise(async () => response.body?.cancel())
          }
        })
      )
  )

  it.effect("with parameters behind a semicolon is refused where its route takes none", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const paths = ["/v1/webhooks;stat=active", "/v1/webhooks?stat=active", "/v1/webhooks?;stat=active"]
        for (const path of paths) {
          const { status, body } = yield* read(send(path))
          const name = path.endsWith("?;stat=active") ? ";stat" : "stat"
          const detail = `${name}: is no parameter: this route takes none`
          assert.deepEqual([status, body.detail], [400, detail], path)
        }
      })
    )
  )

  it.effect("whose body is coded is refused with 415, not read as what it is not", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const json = { account: "coded", asset: "USD/2", owner: "Ann" }
        const coded = yield* read(send("/v1/accounts", { json, headers: { "content-encoding": "gzip" } }))
        assert.deepEqual(
          [coded.status, coded.body.detail],
          [415, "the content-type must be application/json, without a content-encoding"]
        )
        const inChunks = { "transfer-encoding": "gzip, chunked" }
        const packed = yield* read(send("/v1/accounts", { json, headers: inChunks }))
        assert.deepEqual(
          [packed.status, packed.body.detail],
          [415, "the content-type must be application/json, without a transfer-encoding other than chunked"]
        )
        const plain = yield* read(send("/v1/accounts", { json, headers: { "content-encoding": "identity" } }))
        assert.strictEqual(plain.status, 201)
      })
    )
  )

  it.effect("of an unknown id is 404, of an unknown path too, and of another method 405", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const answers = yield* Effect.forEach(
          ["/v1/accounts/nobody", "/v1/transfers/none", "/v1/nothing", "/v1/accounts/nobody/events"],
          (path) => read(send(path))
        )
        assert.deepEqual(
          answers.map(({ status, body }) => [status, body.type]),
          [
            [404, "/docs#AccountNotFound"],
            [404, "/docs#NotFound"],
            [404, "/docs#NotFound"],
            [404, "/docs#AccountNotFound"]
          ]
        )
        const wrong = yield* read(send("/v1/transfers", { method: "DELETE" }))
        assert.deepEqual([wrong.status, wrong.headers.get("allow")], [405, "POST"])
        // Those are paths to the router as well.
        for (const path of ["/v1/transfers/", "/v1//transfers", "/V1/Transfers", "/v1/transfers;a=1"]) {
          const { status, headers } = yield* read(send(path, { method: "DELETE" }))
          assert.deepEqual([status, headers.get("allow")], [405, "POST"], path)
        }
        const pages = ["openapi.json", "docs", "health", "ready", "ready/commands", "metrics", "rpc"]
        for (const path of [...pages, "console", "console/account/a", "console/files/a.js"])
          for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
            const { status, body, headers } = yield* read(send(`/${path}`, { method }))
            assert.deepEqual(
              [status, headers.get("allow"), body.type],
              [405, "GET, HEAD", "/docs#MethodNotAllowed"],
              `${method} /${path}`
            )
          }
        const long = "a".repeat(10_000)
        for (const [path, method, param] of [
          ["/v1/accounts/a%20b", "GET", "account"],
          ["/v1/accounts/%zz", "GET", "account"],
          ["/v1/accounts/%", "GET", "account"],
          ["/v1/accounts/%ff/statement", "GET", "account"],
          [`/v1/accounts/${long}`, "GET", "account"],
          [`/v1/accounts/a/holds/${long}/capture`, "POST", "hold"],
          ["/v1/commands/%zz", "GET", "commandId"]
        ] as const) {
          const { status, body } = yield* read(send(path, { method }))
          const [fault] = body.faults as ReadonlyArray<{ readonly path: ReadonlyArray<string> }>
          assert.deepEqual([status, fault?.path], [400, [param]], path.slice(0, 40))
        }
      })
    )
  )
})

describe("each error of the ledger over HTTP", () => {
  const statuses: Readonly<Record<string, number>> = {
    AccountNotFound: 404,
    AccountAlreadyExists: 409,
    AccountNotActive: 409,
    AssetMismatch: 422,
    InsufficientFunds: 422,
    InvalidCommand: 400,
    SameAccount: 422,
    LimitExceeded: 422,
    VersionConflict: 412,
    HoldNotFound: 404,
    HoldClosed: 409,
    HoldExpired: 409,
    HoldLimit: 422,
    CaptureExceedsHold: 422,
    OpenHolds: 409,
    ReversalExceeds: 422,
    RateMismatch: 422,
    GroupRejected: 422,
    CommandIdReused: 422,
    CommandNotFound: 404,
    Overloaded: 429,
    Unavailable: 503,
    Indeterminate: 504,
    NotYetVisible: 503,
    Unauthenticated: 401,
    Forbidden: 403
  }
  plain("has a status here", () => {
    const known = new Map(problemList.map(({ tag, status }) => [tag, status]))
    for (const [tag, status] of Object.entries(statuses)) assert.strictEqual(known.get(tag), status, tag)
    const tags = [...CommandError.members, ...QueryError.members].map(({ identifier }) => identifier)
    for (const tag of tags) assert.property(statuses, tag)
  })
})
