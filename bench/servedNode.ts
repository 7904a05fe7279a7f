/** A node in a process of its own over an embedded stack, and transfers between funded accounts, for the benches of its doors. */
import { spawn } from "node:child_process"
import { Effect, Redacted } from "effect"
import type { CommandInput } from "../src/domain/Command.ts"
import type { DevStackService } from "../src/infra/dev/DevStack.ts"
import { loopbackPort } from "../src/infra/dev/LoopbackPort.ts"
import type { Ledger } from "../src/Ledger.ts"

export const accounts = 1_000

export const account = (n: number) => `bench:${n % accounts}`

let drawn = 0
export const transfer = () => {
  const n = drawn++
  return { _tag: "Transfer" as const, from: account(n * 7), to: account(n * 7 + 1 + (n % 5)), amount: 1n }
}

/** Opens and funds the accounts. */
export const prepare = (ledger: Ledger["Service"]) =>
  ledger.dispatchMany(
    Array.from(
      { length: accounts },
      (_, n): ReadonlyArray<CommandInput> => [
        {
          _tag: "OpenAccount",
          account: account(n),
          asset: "USD/2",
          owner: "bench",
          commandId: `bench:open:${n}`
        },
        { _tag: "Deposit", account: account(n), amount: 1_000_000_000n, commandId: `bench:fund:${n}` }
      ]
    ).flat()
  )

interface NodeStart {
  readonly role?: "all" | "commands" | "read-side"
  readonly name?: string
  /** Of Node.js. */
  readonly options?: ReadonlyArray<string>
}

/** A node in a process of its own, of the sources in a checkout; `variables` are added to its environment. */
export const startNode = Effect.fnUntraced(function* (
  stack: DevStackService,
  variables: Readonly<Record<string, string>> = {},
  directory = ".",
  { role = "all", name = "bench", options = [] }: NodeStart = {}
) {
  const [http, rpc] = [yield* loopbackPort("HTTP"), yield* loopbackPort("RPC")]
  const child = spawn(process.execPath, [...options, "src/cli/main.ts", "serve", "--role", role], {
    cwd: directory,
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env,
      CHRONICLE_EVENT_STORE_URL: Redacted.value(stack.eventStoreUrl),
      CHRONICLE_READ_MODEL_URL: Redacted.value(stack.readModelUrl),
      CHRONICLE_NATS_URL: stack.natsUrl,
      CHRONICLE_NODE_NAME: name,
      CHRONICLE_HTTP_PORT: String(http),
      CHRONICLE_RPC_PORT: String(rpc),
      ...variables
    }
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGTERM")))
  return { http, rpc, pid: child.pid ?? 0 }
})
