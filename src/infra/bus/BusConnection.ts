/** The connection to NATS: made anew for ever when it is lost, and never a buffer for a server that is away. */
import { Effect, Predicate, Schedule, Stream } from "effect"
import { type ConnectionOptions, connect, Events, type NatsConnection } from "nats"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"

export interface BusConnection {
  /** The connection; fails while it is not up. */
  readonly get: Effect.Effect<NatsConnection, StoreUnavailable>
  readonly isUpUnsafe: () => boolean
  /** Rises each time the connection comes up: what was known of the server may have changed. */
  readonly eraUnsafe: () => number
}

/** Callers are told our words and the code of the cause, whose own words may name the server; logs get those. */
export const busUnavailable = (words: string, cause: unknown): StoreUnavailable => {
  const code = Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : undefined
  return new StoreUnavailable({
    store: "bus",
    reason: code === undefined ? words : `${words} (${code})`,
    detail: `${words}: ${cause instanceof Error ? cause.message : String(cause)}`
  })
}

/** `nats://user:secret@host:4222,nats://other:4222`; `tls://` asks for TLS. */
const toConnectionOptions = (url: string, connectMs: number): ConnectionOptions => {
  const urls = url
    .split(",")
    .map((part) => new URL(part.includes("://") ? part.trim() : `nats://${part.trim()}`))
  const first = urls[0]
  const user = decodeURIComponent(first?.username ?? "")
  const pass = decodeURIComponent(first?.password ?? "")
  return {
    servers: urls.map((one) => one.host),
    ...(pass !== "" ? { user, pass } : user !== "" ? { token: user } : {}),
    ...(first?.protocol === "tls:" ? { tls: {} } : {}),
    name: "chronicle",
    timeout: connectMs,
    reconnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    // A stack trace a message published, which nothing prints.
    noAsyncTraces: true,
    // Credentials may be wrong only while a server is being set up.
    ignoreAuthErrorAbort: true,
    pingInterval: 5_000,
    maxPingOut: 2
  }
}

const open = (options: ConnectionOptions) =>
  Effect.tryPromise({
    try: (signal) =>
      connect(options).then((connection) =>
        // Interrupted meanwhile: nothing else would close it.
        signal.aborted ? connection.close().then(() => Promise.reject(signal.reason)) : connection
      ),
    catch: (cause) => busUnavailable("cannot connect", cause)
  })

/** Runs in the scope. */
export const makeBusConnection = Effect.fnUntraced(function* (url: string) {
  const { connectMs, backoffMaxMs } = yield* ReadSideConfig
  const options = toConnectionOptions(url, connectMs)
  let current: NatsConnection | undefined
  let isUp = false
  let era = 0

  const turn = (up: boolean): void => {
    if (up && !isUp) era++
    isUp = up
  }

  const oneLife = Effect.scoped(
    Effect.gen(function* () {
      const connection = yield* Effect.acquireRelease(open(options), (opened) =>
        Effect.promise(() => opened.close())
      )
      current = connection
      turn(true)
      const watch = Stream.fromAsyncIterable(connection.status(), (cause) => cause).pipe(
        Stream.runForEach(({ type }) =>
          Effect.gen(function* () {
            if (type === Events.Reconnect) turn(true)
            if (type === Events.Disconnect) turn(false)
            if (type === Events.Reconnect || type === Events.Disconnect) yield* Effect.logInfo(`bus: ${type}`)
          })
        ),
        Effect.ignore
      )
      yield* Effect.forkScoped(watch)
      const cause = yield* Effect.promise(() => connection.closed())
      return yield* busUnavailable("the connection was closed", cause ?? "by this node")
    })
  ).pipe(
    Effect.ensuring(
      Effect.sync(() => {
        current = undefined
        turn(false)
      })
    ),
    Effect.tapError(({ reason, detail = reason }) =>
      // Of a refused connection NATS tells a bare code, so the address is named.
      Effect.logWarning(`bus: no connection to ${options.servers}: ${detail}; trying again`)
    )
  )
  const pause = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced(backoffMaxMs)])
  yield* oneLife.pipe(Effect.retry(pause), Effect.forkScoped)

  return {
    get: Effect.suspend(() =>
      current !== undefined && isUp
        ? Effect.succeed(current)
        : Effect.fail(new StoreUnavailable({ store: "bus", reason: "not connected" }))
    ),
    isUpUnsafe: () => isUp,
    eraUnsafe: () => era
  } satisfies BusConnection
})
