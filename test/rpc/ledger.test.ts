/** Runs the contract of `Ledger` in process and over every form of RPC. */
import { layer } from "@effect/vitest"
import { Effect } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { patientLimits } from "../support/callers.ts"
import { connect, memoryLedger, openTcp, openWebSocket, token, tokenOf } from "../support/rpcWorld.ts"
import { ledgerContract } from "./ledgerContract.ts"

const live = { excludeTestServices: true } as const

layer(memoryLedger, live)("a ledger in process", (it) => ledgerContract(it, Ledger))

layer(memoryLedger, live)("a ledger over TCP, binary", (it) =>
  ledgerContract(
    it,
    Effect.gen(function* () {
      const { url } = yield* openTcp()
      return (yield* connect({ urls: [url], limits: patientLimits })).ledger
    })
  )
)

layer(memoryLedger, live)("a ledger over TCP, NDJSON, with a token", (it) =>
  ledgerContract(
    it,
    Effect.gen(function* () {
      const { url } = yield* openTcp({
        format: "ndjson",
        tokens: [token("shop", ["read", "command", "admin"])]
      })
      return (yield* connect({
        urls: [url],
        format: "ndjson",
        token: tokenOf("shop"),
        limits: patientLimits
      })).ledger
    })
  )
)

layer(memoryLedger, live)("a ledger over a WebSocket", (it) =>
  ledgerContract(
    it,
    Effect.gen(function* () {
      const { url } = yield* openWebSocket()
      return (yield* connect({ urls: [url], limits: patientLimits })).ledger
    })
  )
)
