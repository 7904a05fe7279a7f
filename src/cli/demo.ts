/** How `chronicle demo` is called: the file that is played, the data, and what makes it fail. */
import { Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { jsonFlag, pathFlag, wholeNumberFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const rateMax = 1_000_000
const Rate = Schema.Int.check(
  Schema.isBetween({ minimum: 1, maximum: rateMax }, { message: `must be 1 to ${rateMax}` })
)

const flags = {
  file: Flag.File("file", { mustExist: true }).pipe(
    Flag.withDescription("A bank's day in the format of examples/README.md; default examples/day.csv"),
    Flag.optional
  ),
  data: pathFlag("data").pipe(
    Flag.withDescription(
      "Where the data live; the same file on the same data replays. Default .chronicle/demo"
    ),
    Flag.withDefault(".chronicle/demo")
  ),
  fresh: Flag.Boolean("fresh").pipe(
    Flag.withDescription("Delete the data directory first, if it is one of the ledger's"),
    Flag.withDefault(false)
  ),
  rate: wholeNumberFlag("rate").pipe(
    Flag.withDescription("Lines a second, to watch it; as fast as it goes if absent"),
    Flag.withSchema(Rate),
    Flag.optional
  ),
  strict: Flag.Boolean("strict").pipe(
    Flag.withDescription("Exit with 1 where a line of the day was refused or at fault"),
    Flag.withDefault(false)
  ),
  keep: Flag.Boolean("keep").pipe(
    Flag.withDescription("Stay up afterwards, with the console and the API on the demo's data, until Ctrl-C"),
    Flag.withDefault(false)
  ),
  json: jsonFlag
}
export type DemoFlags = Command.Command.Config.Infer<typeof flags>

export const demo = Command.make(
  "demo",
  flags,
  lazily(() => import("./run/demo.ts").then(({ demo }) => demo))
).pipe(Command.withDescription("Play a bank's day on an embedded stack, and prove that the books are right"))
