/** The troubles of a read side that `npm run bench:faults` makes, and how each is known to be told of and to be over. */
import { writeFileSync } from "node:fs"
import { Effect, Redacted } from "effect"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import type { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import type { ServiceUrls } from "../../src/loadtest/Services.ts"
import { execute } from "../../test/support/databases.ts"
import type { Fault } from "../../test/support/threadFaults.ts"
import { account, accounts } from "../servedNode.ts"
import type { Signs } from "./Watch.ts"

export interface Trouble {
  readonly name: string
  /** Before the undisturbed time that it is compared with. */
  readonly prepare: Effect.Effect<void>
  readonly strike: Effect.Effect<void>
  readonly signs: Signs
  /** It is over once `/ready` is 200 again, and not before it is mended. */
  readonly heals: boolean
  /** Puts right what does not heal by itself, once the read model was looked at. */
  readonly mend: Effect.Effect<void>
  /** Accounts that are parked meanwhile. */
  readonly parked: number
}

/** The node that troubles are made for. */
export interface Struck {
  readonly pid: number
  /** Of what its thread does at SIGUSR2. */
  readonly faultFile: string
  readonly ledger: Ledger["Service"]
  readonly services: ServiceUrls
}

const poisoned = account(accounts - 1) as AccountId // of the characters of an id

const threadSigns: Signs = {
  ready: ({ isReady, ready }) => !isReady && ready.includes("the thread of the read side"),
  metrics: ({ metrics }) => /^chronicle_read_side_thread_up 0$/m.test(metrics)
}
const parkedSigns: Signs = {
  ready: ({ ready }) => ready.includes("parked"),
  metrics: ({ metrics }) => /^chronicle_parked_accounts\{projection="books_v1"\} 1$/m.test(metrics)
}

const ofThread = ({ pid, faultFile }: Struck, name: string, fault: Fault): Trouble => ({
  name,
  prepare: Effect.void,
  strike: Effect.sync(() => {
    writeFileSync(faultFile, fault)
    process.kill(pid, "SIGUSR2")
  }),
  signs: threadSigns,
  heals: true,
  mend: Effect.void,
  parked: 0
})

/** An event that the tables of the books refuse. */
const poison = ({ ledger, services }: Struck): Trouble => {
  const readModel = Redacted.value(services.readModelUrl)
  const alter = (change: string) =>
    execute(readModel, `ALTER TABLE books_v1_statement_lines ${change} CONSTRAINT poison`)
  const retry = Effect.flatMap(ProjectionEngine, (engine) => engine.retryParked([poisoned])).pipe(
    Effect.provide(ProjectionEngine.layer),
    Effect.provide(LedgerNode.layerReader(services)),
    Effect.scoped
  )
  return {
    name: "a poison event",
    // Those of earlier rounds are there.
    prepare: execute(
      readModel,
      "ALTER TABLE books_v1_statement_lines ADD CONSTRAINT poison CHECK (description IS DISTINCT FROM 'poison') NOT VALID"
    ),
    strike: ledger
      .dispatch({ _tag: "Deposit", account: poisoned, amount: 1n, description: "poison" })
      .pipe(Effect.orDie, Effect.asVoid),
    signs: parkedSigns,
    heals: false,
    mend: Effect.andThen(alter("DROP"), Effect.orDie(retry)),
    parked: 1
  }
}

export const troublesOf = (struck: Struck): ReadonlyArray<Trouble> => [
  ofThread(struck, "killed", "exit"),
  ofThread(struck, "frozen for 20 s", "stall"),
  ofThread(struck, "out of memory", "fill"),
  poison(struck)
]
