/**
 * What commands about holds cost a node, beside transfers, by the processor's time: everything from the check to the receipt, over an event store in
 * memory. `node bench/holds.ts` runs both in turn; by the processor's time the ratio says something beside other programs too.
 */
import { Effect, Layer, References, Result } from "effect"
import { Dispatcher } from "../src/actors/commands/Dispatcher.ts"
import { type CommandInput, fromHost } from "../src/domain/Command.ts"
import { EventStore } from "../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../src/infra/eventstore/Snapshots.ts"
import { writeSide } from "../src/LedgerNode.ts"

const rounds = 7
const commandsOfRound = 6_000
const commandsOfBatch = 500
const accountsMax = 400

const accountOf = (index: number) => `bench-${String(index % accountsMax).padStart(6, "0")}`
const pairOf = (round: number, nth: number): readonly [from: string, to: string] => {
  const from = nth * 7 + round
  return [accountOf(from), accountOf(from + 1 + (nth % 5))]
}
const ofRound = (make: (nth: number) => CommandInput): ReadonlyArray<CommandInput> =>
  Array.from({ length: commandsOfRound }, (_, nth) => make(nth))

const main = Effect.gen(function* () {
  const dispatcher = yield* Dispatcher
  /** Sends all of them in order, and answers microseconds of the processor a command. */
  const run = Effect.fnUntraced(function* (inputs: ReadonlyArray<CommandInput>) {
    const before = process.cpuUsage()
    for (let start = 0; start < inputs.length; start += commandsOfBatch) {
      const batch = inputs.slice(start, start + commandsOfBatch)
      const commands = batch.map((input) => Result.getOrThrow(fromHost(input)))
      for (const result of yield* dispatcher.dispatchMany(commands)) Result.getOrThrow(result)
    }
    const { user, system } = process.cpuUsage(before)
    return (user + system) / inputs.length
  })

  for (const [nth, account] of Array.from({ length: accountsMax }, (_, index) =>
    accountOf(index)
  ).entries()) {
    const asset = "USD/2"
    yield* run([
      { _tag: "OpenAccount", commandId: `o${nth}`, account, asset, owner: "bench" },
      { _tag: "Deposit", commandId: `d${nth}`, account, amount: 10n ** 9n }
    ])
  }
  const measured: Array<{ readonly transfer: number; readonly place: number; readonly capture: number }> = []
  for (let round = 0; round < rounds; round++) {
    const on = (nth: number) => pairOf(round, nth)
    const holdOf = (nth: number) => `hold-${round}-${nth}`
    const transfer = yield* run(
      ofRound((nth) => {
        const [from, to] = on(nth)
        return { _tag: "Transfer", commandId: `t-${round}-${nth}`, from, to, amount: 5n }
      })
    )
    const place = yield* run(
      ofRound((nth) => {
        const [account, to] = on(nth)
        const expiresIn = 3_600_000
        return { _tag: "PlaceHold", commandId: holdOf(nth), account, amount: 5n, expiresIn, to }
      })
    )
    const capture = yield* run(
      ofRound((nth) => ({
        _tag: "CaptureHold",
        commandId: `c-${round}-${nth}`,
        account: on(nth)[0],
        hold: holdOf(nth)
      }))
    )
    // The first one warms up.
    if (round > 0) measured.push({ transfer, place, capture })
  }
  const median = (kind: "transfer" | "place" | "capture") =>
    measured.map((one) => one[kind]).toSorted((a, b) => a - b)[Math.floor(measured.length / 2)] ?? 0
  const [transfer, place, capture] = [median("transfer"), median("place"), median("capture")]
  for (const [kind, cost] of Object.entries({ transfer, place, capture }))
    process.stdout.write(
      `${kind.padEnd(9)} ${cost.toFixed(1)} us, ${(transfer / cost).toFixed(2)} of transfers\n`
    )
})

const stores = Layer.mergeAll(EventStore.layerMemory, Snapshots.layerMemory)
void Effect.runPromise(
  main.pipe(
    Effect.provide(writeSide("bench").pipe(Layer.provide(stores))),
    Effect.scoped,
    Effect.provideService(References.MinimumLogLevel, "None")
  )
)
