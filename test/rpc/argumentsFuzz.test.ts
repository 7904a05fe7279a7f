/**
 * A hundred thousand random and mutated arguments, in process and as JSON written by hand: each is accepted or refused with
 * `InvalidCommand` as an oracle says that knows nothing of the schemas, and none ends in a defect.
 */
import { createConnection } from "node:net"
import { createInterface } from "node:readline"
import { assert, layer } from "@effect/vitest"
import { Cause, Effect, Option, Stream } from "effect"
import { SecureRandom } from "effect/crypto"
import { dispatchChecked, makeReadCommand, toGroup } from "../../src/CommandMethods.ts"
import { AccountNotFound, InvalidCommand } from "../../src/domain/Errors.ts"
import { Ledger } from "../../src/Ledger.ts"
import { makeQueryMethods, type QueryName, queryEntries, queryOf } from "../../src/QueryMethods.ts"
import { Rng } from "../support/Rng.ts"
import { openTcp, quiet } from "../support/rpcWorld.ts"
import { drawCommand } from "./commandOracle.ts"

const instantMax = 253_402_300_799_999
const isText = (value: unknown) => typeof value === "string"
const isWhole = (least: number, most: number) => (value: unknown) =>
  typeof value === "number" && Number.isInteger(value) && value >= least && value <= most
const isAccount = (value: unknown) =>
  typeof value === "string" && /^[A-Za-z0-9_:-]{1,64}$/.test(value) && !value.startsWith("external:")
const isContra = (value: unknown) =>
  typeof value === "string" && /^external:[A-Za-z0-9_:-]{1,55}$/.test(value)
const isCommandId = (value: unknown) =>
  typeof value === "string" && /^[A-Za-z0-9_:./@=+-]{1,128}$/.test(value)

type Is = (value: unknown) => boolean
interface Rule {
  readonly id?: Is
  readonly options: { readonly [option: string]: Is }
  readonly together?: (options: Readonly<Record<string, unknown>>) => boolean
}
const limit = isWhole(1, 1_000)
const page = { cursor: isText, limit }
const token = { readToken: isText }
const instant = isWhole(0, instantMax)
const anyWhole = isWhole(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)

const isPrefix = (value: unknown) =>
  typeof value === "string" && /^[\w:-]{0,64}$/.test(value) && !value.startsWith("external:")
const isAsset = (value: unknown) => value === "USD/2"
const isOrder = (value: unknown) => value === "recorded" || value === "effective"

/** Two names of one instant say the same. */
const areOne = ({ knownAt, recordedAt }: Readonly<Record<string, unknown>>) =>
  knownAt === undefined || recordedAt === undefined || knownAt === recordedAt

/** What each query takes, written by hand. */
const rules: { readonly [Name in QueryName]: Rule } = {
  balance: { id: isAccount, options: token },
  strongBalance: { id: isAccount, options: {} },
  balanceAt: {
    id: isAccount,
    options: { version: isWhole(1, Number.MAX_SAFE_INTEGER), knownAt: instant, recordedAt: instant },
    together: ({ version, ...known }) =>
      (version === undefined) !== (known.knownAt === undefined && known.recordedAt === undefined) &&
      areOne(known)
  },
  history: { id: isAccount, options: { after: isWhole(0, Number.MAX_SAFE_INTEGER), limit } },
  statement: {
    id: isAccount,
    options: {
      from: anyWhole,
      to: anyWhole,
      by: isOrder,
      axis: isOrder,
      types: (value) =>
        Array.isArray(value) &&
        value.length > 0 &&
        value.every((one) => one === "Deposited" || one === "TransferSent"),
      counterparty: (value) => isAccount(value) || isContra(value),
      ...page,
      ...token
    },
    together: ({ from, to, by, axis }) =>
      (typeof from !== "number" || typeof to !== "number" || from <= to) &&
      (by === undefined || axis === undefined || by === axis)
  },
  holds: { id: isAccount, options: { expiringBefore: anyWhole, ...page, ...token } },
  holdsByExpiry: { options: { prefix: isPrefix, expiringBefore: anyWhole, ...page, ...token } },
  transfer: { id: isCommandId, options: token },
  find: { id: isCommandId, options: {} },
  accounts: { options: { prefix: isPrefix, ...page, ...token } },
  sum: { id: isPrefix, options: { asset: isAsset, effectiveAt: instant, knownAt: instant } },
  contraBalances: { options: {} },
  parked: { options: {} },
  nodes: { options: {} },
  trialBalance: { options: {} },
  trialBalanceAt: { options: { knownAt: instant, recordedAt: instant }, together: areOne },
  verify: { options: { account: isAccount } },
  stats: { options: {} },
  subscribe: { options: { after: isText, accountPrefix: isPrefix } }
}

/** In JSON an instant may be a text. */
const instantTexts: ReadonlyMap<unknown, number> = new Map([
  ["2026-03-02", Date.parse("2026-03-02T00:00:00Z")],
  ["1790000000000", 1_790_000_000_000]
])

const jsonValues: readonly [unknown, ...ReadonlyArray<unknown>] = [
  null,
  ...[
    true,
    0,
    1,
    -1,
    0.5,
    7,
    1_000,
    1_001,
    1e21,
    2 ** 53,
    instantMax,
    instantMax + 1,
    "",
    "a",
    "a@1",
    "5",
    "NaN",
    ...instantTexts.keys()
  ],
  ...[
    "recorded",
    "effective",
    "external:bank",
    [],
    ["Deposited"],
    ["Deposited", "TransferSent"],
    "USD/2",
    ["x"],
    [1],
    {}
  ]
]
const hostValues: readonly [unknown, ...ReadonlyArray<unknown>] = [
  undefined,
  ...jsonValues,
  ...[Number.NaN, Number.POSITIVE_INFINITY, 5n, Symbol("s"), new Date(0), () => 1, new Map()]
]
const ids: readonly [unknown, ...ReadonlyArray<unknown>] = [
  "a",
  ...[
    "shop:a",
    "a-b_c",
    "x".repeat(64),
    "x".repeat(65),
    "pay/1@shop.example=+",
    "x".repeat(128),
    "x".repeat(129),
    "",
    "ä",
    "a b",
    "a\n",
    "external:bank"
  ]
]
const names = queryEntries.map(([name]) => name)
const [firstName = "balance", ...otherNames] = names

/** A random call: its query, its id and its options, most of them what the query takes. */
const randomCall = (rng: Rng, values: readonly [unknown, ...ReadonlyArray<unknown>]) => {
  const name = rng.pick([firstName, ...otherNames])
  const { options } = rules[name]
  const given: Record<string, unknown> = {}
  for (const option of Object.keys(options)) if (rng.chance(0.4)) given[option] = rng.pick(values)
  if (name === "balanceAt" && rng.chance(0.5)) {
    delete given.knownAt
    delete given.recordedAt
    given.version = 1
  }
  if (rng.chance(0.05)) given[rng.pick(["axsi", "readtoken", "__proto__x", "limits"])] = rng.pick(values)
  return { name, id: rng.chance(0.8) ? rng.pick(["a", "shop:a"]) : rng.pick([...ids, ...values]), given }
}

type Call = ReturnType<typeof randomCall>

const isRight = ({ name, id, given }: Call, isAbsent: Is): boolean => {
  const rule = rules[name]
  const present = Object.entries(given).filter(
    ([option, value]) => !(Object.hasOwn(rule.options, option) && isAbsent(value))
  )
  return (
    (rule.id === undefined || rule.id(id)) &&
    present.every(
      ([option, value]) => Object.hasOwn(rule.options, option) && rule.options[option]?.(value) === true
    ) &&
    (rule.together === undefined || rule.together(Object.fromEntries(present)))
  )
}

/** The same call with numbers in the place of instants that are texts. */
const withInstants = ({ name, id, given }: Call): Call => ({
  name,
  id,
  given: Object.fromEntries(
    Object.entries(given).map(([option, value]) => {
      const rule = Object.hasOwn(rules[name].options, option) ? rules[name].options[option] : undefined
      const isOfInstant = rule === instant || rule === anyWhole
      return [option, (isOfInstant ? instantTexts.get(value) : undefined) ?? value]
    })
  )
})

/** Commands that are right, each with changes that leave it so or spoil it. */
const deposit = { _tag: "Deposit", account: "a", amount: 5n, commandId: "c" }
const transfer = { _tag: "Transfer", from: "a", to: "b", amount: 5n, asset: "USD/2", description: "x" }
const journal = {
  _tag: "PostJournal",
  legs: [
    { account: "a", side: "debit", amount: 1n },
    { account: "b", side: "credit", amount: 1n }
  ]
}
type Fields = Record<string, unknown>
type Change = readonly [isRight: boolean, change: (command: Fields, rng: Rng) => void]
const changes: readonly [Change, ...ReadonlyArray<Change>] = [
  [true, () => {}],
  [true, (command) => delete command.commandId],
  [true, (command) => (command.effectiveAt = 1)],
  [true, (command) => (command.context = { correlationId: "1" })],
  [false, (command) => delete command._tag],
  [false, (command, rng) => (command._tag = rng.pick(["Deposits", "", "deposit", "constructor"]))],
  [false, (command, rng) => (command.commandId = rng.pick<unknown>([7, "", "ä", null, {}, "x".repeat(200)]))],
  [
    false,
    (command, rng) => (command.effectiveAt = rng.pick<unknown>(["2026-02-30", -1, 0.5, null, {}, 1e18]))
  ],
  [false, (command, rng) => (command.expectedVersion = rng.pick<unknown>(["1", -1, 0.5, null, []]))],
  [
    false,
    (command, rng) => (command.context = rng.pick<unknown>([null, 7, "x", [], { user: "x" }, { caller: 7 }]))
  ],
  [false, (command, rng) => (command[rng.pick(["misspelt", "ammount", "asset2"])] = 1)]
]
const randomCommand = (
  rng: Rng,
  form: Parameters<typeof drawCommand>[1]
): { readonly command: Fields; readonly isRight: boolean } => {
  if (rng.chance(0.6)) return drawCommand(rng, form)
  const command: Fields = { ...rng.pick<Fields>([deposit, transfer, journal]) }
  const [isRightCommand, change] = rng.pick(changes)
  change(command, rng)
  return { command, isRight: isRightCommand }
}

/** Answers every call that was accepted, so that nothing but the check decides. */
const accepted = new AccountNotFound({ account: "accepted" })
const makeStub = Effect.gen(function* () {
  const read = makeReadCommand(yield* SecureRandom.SecureRandom)
  return Ledger.of({
    ...makeQueryMethods((name) => (queryOf(name).isStream ? Stream.fail(accepted) : Effect.fail(accepted))),
    dispatch: (input) => Effect.andThen(read(input), Effect.fail(accepted)),
    dispatchMany: (inputs) => dispatchChecked(inputs, read, () => Effect.succeed([])),
    dispatchAll: (commands, options) =>
      Effect.andThen(read(toGroup(commands, options)), Effect.fail(accepted))
  })
}).pipe(Effect.provide(SecureRandom.layerWebCrypto))

type Outcome = Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>
const isAccepted = (outcome: Outcome): boolean => {
  const exit = Effect.runSyncExit(Effect.isEffect(outcome) ? outcome : Stream.runHead(outcome))
  const error = exit._tag === "Failure" ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
  if (error !== accepted && !(error instanceof InvalidCommand))
    throw new Error(`neither accepted nor refused: ${String(exit)}`)
  return error === accepted
}

const show = (value: unknown): string =>
  JSON.stringify(value, (_, inner) =>
    inner === undefined || ["bigint", "symbol", "function"].includes(typeof inner) ? String(inner) : inner
  )

/** Many calls of one connection at once; whether each was accepted, by its id. */
const sendAll = (port: number, calls: ReadonlyArray<{ readonly tag: string; readonly payload: unknown }>) =>
  Effect.promise(async (): Promise<ReadonlyArray<string>> => {
    const socket = createConnection({ port, host: "127.0.0.1" })
    const exits = new Map<number, string>()
    const lines = createInterface({ input: socket })
    socket.write(
      calls
        .map(
          ({ tag, payload }, id) => `${JSON.stringify({ _tag: "Request", id, tag, payload, headers: [] })}\n`
        )
        .join("")
    )
    for await (const line of lines) {
      const message = JSON.parse(line)
      if (message._tag === "Exit") exits.set(message.requestId, JSON.stringify(message.exit))
      if (exits.size === calls.length) break
    }
    socket.destroy()
    return calls.map((_, id) => exits.get(id) ?? "no exit")
  })

const isAcceptedExit = (exit: string, what: string): boolean => {
  const [isIn, isOut] = [exit.includes('"AccountNotFound"'), exit.includes('"InvalidCommand"')]
  assert.isTrue(isIn !== isOut && !exit.includes('"Die"'), `${what}: ${exit}`)
  return isIn
}

const batchSize = 500

layer(quiet, { excludeTestServices: true })("random arguments", (it) => {
  it.effect("are accepted in process exactly where they are right", () =>
    Effect.gen(function* () {
      const stub = yield* makeStub
      const rng = new Rng(20_261_128)
      let right = 0
      for (let n = 0; n < 60_000; n++) {
        const call = randomCall(rng, hostValues)
        const { name, id, given } = call
        const method = stub[name]
        if (Effect.isEffect(method)) continue
        const ask = method as (...args: ReadonlyArray<unknown>) => Outcome // many of the arguments are wrong
        const outcome = queryOf(name).about === "books" ? ask(given) : ask(id, given)
        const expected = isRight(call, (value) => value === undefined)
        assert.strictEqual(isAccepted(outcome), expected, `${name} ${show(id)} ${show(given)}`)
        if (expected) right++
      }
      assert.isAbove(right, 5_000, "calls that were right")
      right = 0
      for (let n = 0; n < 20_000; n++) {
        const { command, isRight } = randomCommand(rng, "host")
        const { _tag, commands, ...options } = command
        const sent =
          _tag === "Group"
            ? stub.dispatchAll(commands as never, options as never)
            : stub.dispatch(command as never)
        assert.strictEqual(isAccepted(sent), isRight, show(command))
        if (isRight) right++
      }
      assert.isAbove(right, 4_000, "commands that were right")
    })
  )

  it.effect("are accepted as JSON by an RPC server exactly where they are right", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const ledger = yield* makeStub
        const { port } = yield* Effect.provideService(openTcp({ format: "ndjson", ledger }), Ledger, ledger)
        const rng = new Rng(20_261_129)
        for (let sent = 0; sent < 20_000; sent += batchSize) {
          const calls = Array.from({ length: batchSize }, () => {
            if (rng.chance(0.25)) {
              const { command, isRight } = randomCommand(rng, "json")
              return { tag: "dispatch", payload: { command: JSON.parse(show(command)) }, expected: isRight }
            }
            const call = randomCall(rng, jsonValues)
            const { about, fields } = queryOf(call.name)
            const hasPayload = about !== "books" || Object.keys(fields).length > 0
            // Over the wire an option may be left out by null, as clients of earlier versions do.
            const expected = isRight(withInstants(call), (value) => value === null)
            const payload = about === "books" ? call.given : { ...call.given, [about]: call.id }
            return {
              tag: call.name,
              payload,
              expected: hasPayload ? expected : Object.keys(call.given).length === 0
            }
          })
          const exits = yield* sendAll(port, calls)
          for (const [index, { tag, payload, expected }] of calls.entries())
            assert.strictEqual(
              isAcceptedExit(exits[index] ?? "", `${tag} ${show(payload)}`),
              expected,
              `${tag} ${show(payload)}: ${exits[index]}`
            )
        }
      })
    )
  )
})
