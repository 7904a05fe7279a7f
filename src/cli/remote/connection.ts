/** How the command line reaches a node: `CHRONICLE_RPC_URL` with `CHRONICLE_RPC_TOKEN` and `CHRONICLE_RPC_CA`, or the port of this machine. */
import { connect } from "node:net"
import { Config, Effect, FileSystem, Layer, Option, Result } from "effect"
import { type ClientLimits, clientConfig } from "../../rpc/client/ClientOptions.ts"
import { LedgerClient } from "../../rpc/client/LedgerClient.ts"
import { OptionsInvalid } from "../failures.ts"

interface ConnectionOptions {
  /** In place of `CHRONICLE_RPC_URL`. */
  readonly url?: string | undefined
  readonly limits?: Partial<ClientLimits> | undefined
}

/** Where a node of this machine and environment listens, whether one runs or not. */
const portHere = Config.Port("CHRONICLE_RPC_PORT").pipe(Config.withDefault(7070))
const urlHere = Config.map(portHere, (port) => `tcp://127.0.0.1:${port}`)

/**
 * As the environment has it: where no URL is named, the node that a question would find, so that commands do not go to another one than
 * the questions about them. `CHRONICLE_RPC_CA` is a file with the certificates to trust instead of the system's.
 */
export const clientLayer = ({ url, limits }: ConnectionOptions = {}) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const config = yield* clientConfig
      const isNamed = Option.isSome(yield* Config.option(Config.String("CHRONICLE_RPC_URL")))
      const urls = url !== undefined ? [url] : isNamed ? config.urls : [yield* urlHere]
      const options = { ...config, urls, limits }
      const file = yield* Config.option(Config.String("CHRONICLE_RPC_CA"))
      if (Option.isNone(file)) return LedgerClient.layer(options)
      const files = yield* FileSystem.FileSystem
      const ca = yield* files
        .readFileString(file.value)
        .pipe(
          Effect.mapError((error) => new OptionsInvalid({ reason: `CHRONICLE_RPC_CA: ${error.message}` }))
        )
      return LedgerClient.layer({ ...options, ca })
    })
  )

/** How long a port of this machine may take to accept a connection, and a node to greet, in milliseconds. */
const acceptMs = 200
const greetMs = 1_000

/** Whether a program listens on the port of loopback; which one is found out by asking it. */
const isListening = (port: number): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const socket = connect({ host: "127.0.0.1", port })
    const answer = (isOpen: boolean) => () => {
      socket.destroy()
      resume(Effect.succeed(isOpen))
    }
    socket.once("connect", answer(true)).once("error", answer(false))
    return Effect.sync(() => socket.destroy())
  }).pipe(Effect.timeoutOrElse({ duration: acceptMs, orElse: () => Effect.succeed(false) }))

/** What is on the port on which a node of this machine and environment would be, and why it cannot be asked. */
interface NodeHere {
  readonly url: string
  /** Undefined where it is a node that answers this caller. */
  readonly fault: string | undefined
  /** It knows the caller, who may not ask how it is, and perhaps something else: that takes the scope `read`, an audit another one. */
  readonly isForbidden: boolean
}

/** The node of this machine; undefined where no program listens on its port. */
export const findNodeHere = Effect.gen(function* () {
  if (!(yield* isListening(yield* portHere))) return undefined
  const url = yield* urlHere
  const greeting = yield* Effect.gen(function* () {
    const client = yield* LedgerClient
    yield* client.awaitConnected
    yield* client.health
  }).pipe(
    Effect.provide(clientLayer({ url, limits: { connectMs: greetMs, queryDeadlineMs: greetMs } })),
    Effect.result
  )
  if (Result.isSuccess(greeting)) return { url, fault: undefined, isForbidden: false } satisfies NodeHere
  const { _tag, message: fault } = greeting.failure
  return { url, fault, isForbidden: _tag === "Forbidden" } satisfies NodeHere
})
