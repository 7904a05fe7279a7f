/** The customers of a chaos run, who send a bank's day to any of the nodes that take commands until the run is over. */
import { Effect, Layer, Schedule } from "effect"
import { type AskedCommand, firstAccountOf } from "../../../src/domain/Command.ts"
import { Ledger } from "../../../src/Ledger.ts"
import { makeRng } from "../../../src/loadtest/Rng.ts"
import { makeRunIds } from "../../../src/loadtest/RunIds.ts"
import { makeScenario } from "../../../src/loadtest/Scenario.ts"
import { LedgerClient } from "../../../src/rpc/client/LedgerClient.ts"
import type { Journal } from "./journal.ts"
import type { ServedNode } from "./servedNode.ts"

export interface MixSettings {
  readonly seed: number
  readonly accounts: number
  readonly customers: number
  /** The pause of a customer between two commands, in milliseconds. */
  readonly thinkMs: number
}

/** `prepare` opens and funds the accounts. `run` ends when the journal is over. */
export const makeMix = Effect.fnUntraced(function* (
  nodes: ReadonlyArray<ServedNode>,
  journal: Journal,
  { seed, accounts, customers, thinkMs }: MixSettings
) {
  const urls = nodes.flatMap(({ role, rpcUrl }) => (role === "read-side" ? [] : [rpcUrl]))
  const client = LedgerClient.layer({ urls })
  const ledger = yield* Effect.provide(Ledger, yield* Effect.orDie(Layer.build(client)))
  const settings = {
    scenario: "mixed-zipf",
    accounts,
    pace: { _tag: "Closed", concurrency: customers },
    seconds: 0,
    seed,
    repeats: 0,
    intruder: 0,
    readSide: true,
    patienceSeconds: 0
  } as const
  const scenario = makeScenario(settings, makeRunIds(`mix${seed}`, true), yield* makeRng(seed))
  const send = (command: AskedCommand) =>
    journal.sendUntilDecided(command, (sent) => Effect.result(ledger.dispatch(sent)))
  /** After a command the customer asks for what is on its first account. */
  const turn = Effect.suspend(() => {
    const command = scenario.next()
    const account = firstAccountOf(command)
    return Effect.andThen(send(command), journal.askStrong(account, ledger.strongBalance(account)))
  })
  const customer = Effect.repeat(turn, { schedule: Schedule.spaced(thinkMs), while: () => !journal.isOver })
  // Each account is opened before it is funded.
  const prepareOne = (index: number) => Effect.forEach(scenario.prepare(index), send, { discard: true })
  const all = Array.from({ length: accounts }, (_, index) => index)
  return {
    prepare: Effect.forEach(all, prepareOne, { concurrency: 32, discard: true }),
    run: Effect.replicateEffect(customer, customers, { concurrency: "unbounded", discard: true })
  }
})
