/** The servers of a node: the URL by which others reach them, and what is said where they cannot listen. */
import { assert, it } from "@effect/vitest"
import { RpcPortUnusable, rpcUrlOf } from "../../src/cli/run/servers.ts"
import type { RpcSettings } from "../../src/rpc/server/RpcSettings.ts"

const settings = { host: "127.0.0.1", port: 7070 } as RpcSettings // the URL depends on these and on TLS alone

it("print the URL that CHRONICLE_RPC_URL takes", () => {
  assert.strictEqual(rpcUrlOf(settings), "tcp://127.0.0.1:7070")
  assert.strictEqual(rpcUrlOf({ ...settings, host: "::1" }), "tcp://[::1]:7070")
})

it("say which port is in use, and which variable names another", () => {
  const error = new RpcPortUnusable({ host: "127.0.0.1", port: 7070, reason: "EADDRINUSE" })
  assert.strictEqual(
    error.message,
    "cannot listen on port 7070 of 127.0.0.1 (EADDRINUSE): free it, or set CHRONICLE_RPC_PORT to another"
  )
})
