/** How `chronicle loadtest` is called: what is sent, at which pace, for how long, to how many nodes. */
import { Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { scenarioNames } from "../loadtest/Settings.ts"
import { jsonFlag, pathFlag, wholeNumberFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

/** Clients of a closed loop, where neither `--concurrency` nor `--rate` is given. */
export const concurrencyDefault = 1_024
/** On one machine: each has its connections to both databases. */
const nodesMax = 9

const within = (least: number, most: number) =>
  Schema.Finite.check(
    Schema.isBetween({ minimum: least, maximum: most }, { message: `must be ${least} to ${most}` })
  )

const scenarioWords =
  "Transfers between any two accounts, or all with one account, deposits, a mix, or card payments " +
  "(holds: authorised, captured whole or in part, released, left to expire)"

const flags = {
  scenario: Flag.Literals("scenario", scenarioNames).pipe(Flag.withDescription(scenarioWords)),
  accounts: wholeNumberFlag("accounts").pipe(
    Flag.withSchema(within(100, 10_000_000)),
    Flag.withDescription("Accounts opened and funded before the load; default 10,000"),
    Flag.withDefault(10_000)
  ),
  concurrency: wholeNumberFlag("concurrency").pipe(
    Flag.withSchema(within(1, 100_000)),
    Flag.withDescription(`Closed loop: clients, each waits for its answer; default ${concurrencyDefault}`),
    Flag.optional
  ),
  rate: wholeNumberFlag("rate").pipe(
    Flag.withSchema(within(1, 1_000_000)),
    Flag.withDescription("Open loop: commands a second, each timed from when it was due"),
    Flag.optional
  ),
  duration: wholeNumberFlag("duration").pipe(
    Flag.withSchema(within(1, 86_400)),
    Flag.withDescription("Seconds of load; default 15"),
    Flag.withDefault(15)
  ),
  warmUp: wholeNumberFlag("warm-up").pipe(
    Flag.withSchema(within(0, 10_000_000)),
    Flag.withDescription("Commands that each node is given before the load is measured; default 0"),
    Flag.withDefault(0)
  ),
  seed: wholeNumberFlag("seed").pipe(
    Flag.withDescription("The same seed draws the same commands; default 1"),
    Flag.withDefault(1)
  ),
  repeats: Flag.Finite("repeats").pipe(
    Flag.withSchema(within(0, 0.9)),
    Flag.withDescription("Share of commands whose id was sent before; default 0"),
    Flag.withDefault(0)
  ),
  intruder: Flag.Finite("intruder").pipe(
    Flag.withSchema(within(0, 0.9)),
    Flag.withDescription(
      "Share of commands sent to a second node that takes the accounts for its own; default 0"
    ),
    Flag.withDefault(0)
  ),
  readSide: Flag.Literals("read-side", ["on", "off"]).pipe(
    Flag.withDescription("off: relay and projections wait until the load is over"),
    Flag.withDefault("on")
  ),
  nodes: wholeNumberFlag("nodes").pipe(
    Flag.withSchema(within(1, nodesMax)),
    Flag.withDescription(
      "Nodes that share the accounts, each a process that gives itself its part of the load; 1 is this process"
    ),
    Flag.withDefault(1)
  ),
  affinity: Flag.Boolean("affinity").pipe(
    Flag.withDescription(
      "Groups of ten accounts that live on one node, and transfers within a group; of transfers-uniform"
    ),
    Flag.withDefault(false)
  ),
  callers: Flag.Literals("callers", ["owner", "any"]).pipe(
    Flag.withDescription(
      "Of several nodes: commands are given to the node of their first account, as LedgerClient does, or to any; default owner"
    ),
    Flag.withDefault("owner")
  ),
  report: pathFlag("report").pipe(
    Flag.withDescription("Directory for a report: one HTML page"),
    Flag.optional
  ),
  json: jsonFlag
}
export type LoadTestFlags = Command.Command.Config.Infer<typeof flags>

export const loadtest = Command.make(
  "loadtest",
  flags,
  lazily(() => import("./run/loadtest.ts").then(({ loadtest }) => loadtest))
).pipe(Command.withDescription("Load a node, measure it, and prove that every invariant held"))
