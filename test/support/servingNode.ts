/** A node that serves, as a process over services that the variables name, and a client of its own at its port. */
import { Context, Effect, Layer } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { LedgerClient } from "../../src/rpc/client/LedgerClient.ts"
import { patientLimits } from "./callers.ts"
import { printed, start } from "./chronicle.ts"
import { freePorts, ownPort } from "./ports.ts"

/** A ledger over the nodes at these URLs, which waits for them. */
export const clientOf = (...urls: ReadonlyArray<string>) =>
  Effect.map(Layer.build(LedgerClient.layer({ urls, limits: patientLimits })), (context) =>
    Context.get(context, Ledger)
  )

/** Ready when it takes questions, at ports that no other test has; a member of a cluster unless `isMember` is false. Ended with the scope. */
export const startServing = Effect.fnUntraced(function* (
  name: string,
  env: Readonly<Record<string, string>>,
  { role = "all", isMember = true }: { readonly role?: string; readonly isMember?: boolean } = {}
) {
  const ports = yield* freePorts
  const process = yield* start(["serve", "--role", role], {
    env: {
      ...env,
      ...ports,
      ...(isMember ? { CHRONICLE_CLUSTER_PORT: String(yield* ownPort) } : {}),
      CHRONICLE_NODE_NAME: name
    }
  })
  yield* printed(process, /ready/)
  const rpcUrl = `tcp://127.0.0.1:${ports.CHRONICLE_RPC_PORT}`
  const httpUrl = `http://127.0.0.1:${ports.CHRONICLE_HTTP_PORT}`
  return { name, process, ledger: yield* clientOf(rpcUrl), rpcUrl, httpUrl }
})
