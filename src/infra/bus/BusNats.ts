/** The bus over one JetStream stream: created when missing, at the start and whenever it was lost. */
import { Effect, Semaphore } from "effect"
import {
  AckPolicy,
  type ConsumerMessages,
  DeliverPolicy,
  DiscardPolicy,
  type NatsConnection,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig
} from "nats"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import type { Bus, ConsumerName } from "./Bus.ts"
import { makeBusConnection } from "./BusConnection.ts"
import { type Inbox, makeInbox } from "./BusInbox.ts"
import { type BusMessage, encodeMessage, messageIdOf } from "./BusMessage.ts"

export interface BusNatsOptions {
  /** One or more servers, comma-separated. */
  readonly url: string
  /** Default CHRONICLE_EVENTS. */
  readonly stream?: string
  /** What stands before the partition in a subject; default `chronicle.events`. */
  readonly subject?: string
  /** Servers that keep each message; default 1, use 3 where there are three. */
  readonly replicas?: number
  /** The stream discards its oldest messages above this; default 1 GiB … */
  readonly bytesMax?: number
  /** … and older than this, in milliseconds; default a day. */
  readonly ageMsMax?: number
}

/** How often the server says that a subscription lives; three of them missing, and it is looked into. */
const heartbeatMs = 1_000
const pullMs = 5_000
/** Within it the server drops a message of the same id. */
const duplicatesMs = 120_000

const toUnavailable = (cause: unknown): StoreUnavailable =>
  new StoreUnavailable({
    store: "bus",
    reason:
      cause instanceof NatsError
        ? `${cause.message}${cause.api_error ? ` (${cause.api_error.description})` : ""}`
        : String(cause)
  })

const ask = <A>(request: () => Promise<A>) => Effect.tryPromise({ try: request, catch: toUnavailable })

const isMissing = (cause: unknown): boolean => cause instanceof NatsError && cause.api_error?.code === 404

export const makeBusNats = Effect.fnUntraced(function* (options: BusNatsOptions) {
  const limits = yield* ReadSideConfig
  const connection = yield* makeBusConnection(options.url)
  const stream = options.stream ?? "CHRONICLE_EVENTS"
  const prefix = options.subject ?? "chronicle.events"
  const streamLock = yield* Semaphore.make(1)
  /** The era of the connection in which the stream was seen; 0: not seen. */
  let seenIn = 0

  const config: Partial<StreamConfig> & { name: string } = {
    name: stream,
    subjects: [`${prefix}.*`],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    num_replicas: options.replicas ?? 1,
    max_bytes: options.bytesMax ?? 2 ** 30,
    max_age: nanos(options.ageMsMax ?? 86_400_000),
    duplicate_window: nanos(duplicatesMs)
  }

  /** Creates the stream unless it was seen since the connection came up. */
  const ensureStream = Effect.fnUntraced(function* (nats: NatsConnection) {
    if (seenIn === connection.eraUnsafe()) return
    const era = connection.eraUnsafe()
    const jsm = yield* ask(() => nats.jetstreamManager({ checkAPI: false, timeout: limits.connectMs }))
    const create = () =>
      jsm.streams.info(stream).then(
        () => false,
        (cause) => (isMissing(cause) ? jsm.streams.add(config).then(() => true) : Promise.reject(cause))
      )
    if (yield* ask(create)) yield* Effect.logInfo(`bus: created the stream ${stream}`)
    seenIn = era
  }, streamLock.withPermit)

  const publish = Effect.fnUntraced(
    function* (messages: ReadonlyArray<BusMessage>) {
      const nats = yield* connection.get
      yield* ensureStream(nats)
      const jetstream = nats.jetstream({ timeout: limits.connectMs })
      const sendAll = () =>
        Promise.all(
          messages.map((message) =>
            jetstream.publish(`${prefix}.${message.partition}`, encodeMessage(message), {
              msgID: messageIdOf(message),
              expect: { streamName: stream },
              timeout: limits.connectMs
            })
          )
        )
      yield* ask(sendAll)
    },
    // The stream may be gone: look again before the next try.
    Effect.tapError(() =>
      Effect.sync(() => {
        seenIn = 0
      })
    )
  )

  const ensureConsumer = Effect.fnUntraced(function* (nats: NatsConnection, name: ConsumerName) {
    const durable = `${name.projection}-${name.partition}`
    yield* ask(() =>
      nats.jetstreamManager({ checkAPI: false, timeout: limits.connectMs }).then((jsm) =>
        jsm.consumers.add(stream, {
          durable_name: durable,
          filter_subject: `${prefix}.${name.partition}`,
          ack_policy: AckPolicy.Explicit,
          deliver_policy: DeliverPolicy.All,
          max_ack_pending: limits.unackedMax,
          ack_wait: nanos(limits.ackWaitMs)
        })
      )
    )
    return yield* ask(() => nats.jetstream().consumers.get(stream, durable))
  })

  const subscribe = Effect.fnUntraced(
    function* (name: ConsumerName) {
      const nats = yield* connection.get
      yield* ensureStream(nats)
      const consumer = yield* ensureConsumer(nats, name)
      const inbox = makeInbox()
      const open = () =>
        consumer.consume({
          max_messages: limits.unackedMax,
          expires: pullMs,
          idle_heartbeat: heartbeatMs,
          abort_on_missing_resource: true,
          callback: inbox.receive
        })
      const messages = yield* Effect.acquireRelease(ask(open), (opened) =>
        Effect.andThen(
          // A connection that was lost meanwhile may never tell that everything is here.
          Effect.promise(() => letGo(opened)).pipe(
            Effect.interruptible,
            Effect.timeoutOption(limits.handoverMs)
          ),
          Effect.sync(inbox.giveBack)
        )
      )
      yield* Effect.forkScoped(watch(messages, nats, inbox))
      return { take: inbox.take }
    },
    Effect.tapError(() =>
      Effect.sync(() => {
        seenIn = 0
      })
    )
  )

  /** Tells the inbox when the subscription, or the connection below it, ended. */
  const watch = (messages: ConsumerMessages, nats: NatsConnection, inbox: Inbox) =>
    Effect.race(
      Effect.promise(() => messages.closed()),
      Effect.promise(() => nats.closed())
    ).pipe(
      Effect.flatMap((cause) =>
        Effect.sync(() => {
          seenIn = 0
          inbox.fail(toUnavailable(cause ?? "the subscription was closed"))
        })
      )
    )

  return { publish, subscribe, isConnectedUnsafe: connection.isUpUnsafe } satisfies Bus["Service"]
})

/** Closes when everything is here that the server sent: what `close` alone would drop comes again after `ackWaitMs`. */
const letGo = (messages: ConsumerMessages): Promise<unknown> => {
  // The class has a subscription that its interface does not show; where it has none, closing is all there is.
  const { sub } = messages as ConsumerMessages & { readonly sub?: { drain(): Promise<void> } }
  const drained = sub === undefined ? Promise.resolve() : sub.drain()
  return drained.then(
    () => messages.close(),
    // The connection is gone, and so is what was on its way.
    () => messages.close()
  )
}
