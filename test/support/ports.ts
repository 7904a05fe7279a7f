/** Ports of 127.0.0.1 for servers in other processes; no two tests are given the same. */
import { randomInt } from "node:crypto"
import { Effect } from "effect"
import { loopbackPort } from "../../src/infra/dev/LoopbackPort.ts"

/**
 * Below those that the system gives to a process which asks for any port, or connects: a port of its own choice that was free
 * a moment ago may be taken by the time a process has started. Each test file begins at a place of its own.
 */
let next = randomInt(10_240, 30_240)

/** Never one that was given before. */
export const ownPort: Effect.Effect<number> = Effect.suspend(() => loopbackPort("a test", next++)).pipe(
  Effect.retry({ times: 100 }),
  Effect.orDie
)

/** For the doors of a node. */
export const freePorts = Effect.gen(function* () {
  return { CHRONICLE_HTTP_PORT: String(yield* ownPort), CHRONICLE_RPC_PORT: String(yield* ownPort) }
})
