/** The bus over one stream of NATS JetStream, which is created whenever it is missing. */
import { Effect, Latch, Result, Semaphore } from "effect"
import {
  AckPolicy,
  type Consumer,
  type ConsumerMessages,
  createInbox,
  DeliverPolicy,
  DiscardPolicy,
  headers,
  type JsMsg,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  NatsError,
  type Subscription as NatsSubscription,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo
} from "nats"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import type { Bus, ConsumerName, Delivery, Subscription } from "./Bus.ts"
import { type BusConnection, busUnavailable, makeBusConnection } from "./BusConnection.ts"
import { doubtsOf } from "./BusDoubts.ts"
import { type BusMessage, decodeMessage, encodeMessage, messageIdOf } from "./BusMessage.ts"

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

/**
 * How often the server says that a subscription lives; where three are missing, the client asks for it again. A server that ends, and a stream
 * or consumer that goes away, are told at once, and the sweep loads from the log what does not come meanwhile; an idle node has such a
 * message for each partition.
 */
const heartbeatMs = 4_000
/** How long the server keeps a request for messages: more than twice as long. */
const pullMs = 10_000
/** Within it the server drops a message of the same id. */
const duplicatesMs = 120_000

/** Of a cause that is a text, that. */
const toUnavailable = (cause: unknown): StoreUnavailable =>
  typeof cause === "string"
    ? new StoreUnavailable({ store: "bus", reason: cause })
    : busUnavailable(
        cause instanceof NatsError ? (cause.api_error?.description ?? "a request failed") : "it failed",
        cause
      )

const ask = <A>(request: () => Promise<A>) => Effect.tryPromise({ try: request, catch: toUnavailable })

const isMissing = (cause: unknown): boolean => cause instanceof NatsError && cause.api_error?.code === 404

/** The stream of the events, as it is made where it is missing. */
const configOf = (options: BusNatsOptions): StreamConfigOf => ({
  name: options.stream ?? "CHRONICLE_EVENTS",
  subjects: [`${options.subject ?? defaultSubject}.*`],
  retention: RetentionPolicy.Limits,
  storage: StorageType.File,
  discard: DiscardPolicy.Old,
  num_replicas: options.replicas ?? 1,
  max_bytes: options.bytesMax ?? 2 ** 30,
  max_age: nanos(options.ageMsMax ?? 86_400_000),
  duplicate_window: nanos(duplicatesMs)
})

type StreamConfigOf = Partial<StreamConfig> & { readonly name: string; readonly num_replicas: number }
const defaultSubject = "chronicle.events"

const loopback = /^(localhost|127\.|\[?::1\]?)/

/** Logs each doubt about the bus once, however often it is looked at. */
const makeDoubting = (replicasWanted: number) => {
  const told = new Set<string>()
  return (nats: NatsConnection, { config }: StreamInfo) => {
    const doubts = doubtsOf({
      version: nats.info?.version,
      cluster: nats.info?.cluster,
      isLoopback: loopback.test(nats.getServer()),
      stream: config.name,
      replicas: config.num_replicas,
      replicasWanted
    }).filter((doubt) => !told.has(doubt))
    for (const doubt of doubts) told.add(doubt)
    return Effect.forEach(doubts, (doubt) => Effect.logWarning(`bus: ${doubt}`), { discard: true })
  }
}

/** Knows whether the stream is there. */
const makeStream = Effect.fnUntraced(function* (config: StreamConfigOf, connection: BusConnection) {
  const { connectMs } = yield* ReadSideConfig
  const lock = yield* Semaphore.make(1)
  const tellDoubts = makeDoubting(config.num_replicas)
  /** The era of the connection in which the stream was seen last; 0 where it may be gone. */
  let seenIn = 0
  const forgetUnsafe = () => {
    seenIn = 0
  }
  return {
    /** Creates the stream unless it was seen since the connection came up. */
    ensure: Effect.fnUntraced(function* (nats: NatsConnection) {
      if (seenIn === connection.eraUnsafe()) return
      const era = connection.eraUnsafe()
      const jsm = yield* ask(() => nats.jetstreamManager({ checkAPI: false, timeout: connectMs }))
      const look = () =>
        jsm.streams.info(config.name).then(
          (info) => ({ info, isNew: false }),
          (cause) =>
            isMissing(cause)
              ? jsm.streams.add(config).then((info) => ({ info, isNew: true }))
              : Promise.reject(cause)
        )
      const { info, isNew } = yield* ask(look)
      if (isNew) yield* Effect.logInfo(`bus: created the stream ${config.name}`)
      yield* tellDoubts(nats, info)
      seenIn = era
    }, lock.withPermit),
    forgetUnsafe,
    /** After a failure the stream may be gone, so it is looked for before the next try. */
    forgetOnError: <A, E, R>(self: Effect.Effect<A, E, R>) =>
      Effect.tapError(self, () => Effect.sync(forgetUnsafe))
  }
})

export const makeBusNats = Effect.fnUntraced(function* (options: BusNatsOptions) {
  const limits = yield* ReadSideConfig
  const connection = yield* makeBusConnection(options.url)
  const config = configOf(options)
  const prefix = options.subject ?? defaultSubject
  const stream = yield* makeStream(config, connection)

  const publish = Effect.fnUntraced(function* (messages: ReadonlyArray<BusMessage>) {
    const nats = yield* connection.get
    yield* stream.ensure(nats)
    yield* sendAll(
      nats,
      config.name,
      messages.map((message) => {
        const sent = headers()
        sent.set("Nats-Msg-Id", messageIdOf(message))
        sent.set("Nats-Expected-Stream", config.name)
        return { subject: `${prefix}.${message.partition}`, text: encodeMessage(message), headers: sent }
      })
    ).pipe(
      Effect.timeoutOrElse({
        duration: limits.connectMs,
        orElse: () => Effect.fail(toUnavailable(`no acknowledgement within ${limits.connectMs} ms`))
      })
    )
  }, stream.forgetOnError)

  const ensureConsumer = Effect.fnUntraced(function* (nats: NatsConnection, name: ConsumerName) {
    const durable = `${name.projection}-${name.partition}`
    yield* ask(() =>
      nats.jetstreamManager({ checkAPI: false, timeout: limits.connectMs }).then((jsm) =>
        jsm.consumers.add(config.name, {
          durable_name: durable,
          filter_subject: `${prefix}.${name.partition}`,
          ack_policy: AckPolicy.Explicit,
          deliver_policy: DeliverPolicy.All,
          max_ack_pending: limits.unackedMax,
          ack_wait: nanos(limits.ackWaitMs)
        })
      )
    )
    return yield* ask(() => nats.jetstream().consumers.get(config.name, durable))
  })

  const subscribe = Effect.fnUntraced(function* (name: ConsumerName) {
    const nats = yield* connection.get
    yield* stream.ensure(nats)
    const consumer = yield* ensureConsumer(nats, name)
    const inbox = makeInbox()
    const messages = yield* consume(consumer, inbox)
    const tellEnd = Effect.flatMap(endOf(messages, nats), (error) =>
      Effect.sync(() => {
        stream.forgetUnsafe()
        inbox.fail(error)
      })
    )
    yield* Effect.forkScoped(tellEnd)
    return { take: inbox.take }
  }, stream.forgetOnError)

  return { publish, subscribe, isConnectedUnsafe: connection.isUpUnsafe } satisfies Bus["Service"]
})

/** What the API of JetStream answers to a message. */
interface Acknowledgement {
  readonly stream?: string
  readonly error?: { readonly description?: string }
}

/** What an answer says of a message that is not stored in the stream; undefined where it is. */
const refusalOf = (stream: string, ack: Msg): string | undefined => {
  if (ack.data.length === 0) return ack.headers?.hasError ? ack.headers.status : "an empty acknowledgement"
  const answer = ack.json<Acknowledgement>()
  if (answer.error !== undefined) return answer.error.description ?? "refused"
  return answer.stream === stream ? undefined : "an acknowledgement that does not name the stream"
}

/**
 * Sends messages and waits until the server has acknowledged each. All are answered to one inbox: the client's own way to publish
 * makes a timer, six promises and an error with its trace for every message, which was most of what a message cost.
 */
export const sendAll = (
  nats: NatsConnection,
  stream: string,
  messages: ReadonlyArray<{ readonly subject: string; readonly text: string; readonly headers: MsgHdrs }>
) =>
  messages.length === 0
    ? Effect.void
    : Effect.callback<void, StoreUnavailable>((resume) => {
        let missing = messages.length
        const inbox = createInbox()
        let answers: NatsSubscription | undefined
        const fail = (cause: unknown): void => {
          answers?.unsubscribe()
          resume(Effect.fail(toUnavailable(cause)))
        }
        const callback = (error: NatsError | null, ack: Msg): void => {
          const refusal =
            error ??
            Result.getOrElse(
              Result.try(() => refusalOf(stream, ack)),
              () => "an acknowledgement that is no JSON"
            )
          if (refusal !== undefined) fail(refusal)
          else if (--missing === 0) resume(Effect.void)
        }
        // A connection that has just been closed takes neither.
        const sent = Result.try(() => {
          answers = nats.subscribe(inbox, { max: missing, callback })
          for (const { subject, text, headers } of messages)
            nats.publish(subject, text, { reply: inbox, headers })
        })
        if (Result.isFailure(sent)) fail(sent.failure)
        return Effect.sync(() => answers?.unsubscribe())
      })

/** Lets the server send to the inbox; returns what was not taken when the scope ends. */
const consume = Effect.fnUntraced(function* (consumer: Consumer, inbox: Inbox) {
  const limits = yield* ReadSideConfig
  const open = () =>
    consumer.consume({
      max_messages: limits.unackedMax,
      expires: pullMs,
      idle_heartbeat: heartbeatMs,
      abort_on_missing_resource: true,
      callback: inbox.receive
    })
  return yield* Effect.acquireRelease(ask(open), (opened) =>
    Effect.andThen(
      // On a connection that was lost meanwhile, draining may never end.
      Effect.promise(() => letGo(opened)).pipe(Effect.interruptible, Effect.timeoutOption(limits.handoverMs)),
      Effect.sync(inbox.giveBack)
    )
  )
})

/** Waits until the subscription, or the connection below it, has ended; answers why. */
const endOf = (messages: ConsumerMessages, nats: NatsConnection): Effect.Effect<StoreUnavailable> =>
  Effect.race(
    Effect.promise(() => messages.closed()),
    Effect.promise(() => nats.closed())
  ).pipe(Effect.map((cause) => toUnavailable(cause ?? "the subscription was closed")))

/** Closes once everything that the server sent has arrived: `close` alone drops it, and it comes again only after `ackWaitMs`. */
const letGo = (messages: ConsumerMessages): Promise<unknown> => {
  // The class has a subscription that its interface does not show; without one it can only be closed.
  const { sub } = messages as ConsumerMessages & { readonly sub?: { drain(): Promise<void> } }
  const drained = sub === undefined ? Promise.resolve() : sub.drain()
  return drained.then(
    () => messages.close(),
    // The connection is gone, and with it what was on its way.
    () => messages.close()
  )
}

/** Deliveries that the server sent ahead and that were not taken yet. */
interface Inbox {
  readonly receive: (message: JsMsg) => void
  readonly fail: (error: StoreUnavailable) => void
  /** Returns what was not taken, so that the server sends it to the next subscription. */
  readonly giveBack: () => void
  readonly take: Subscription["take"]
}

/** Holds at most `unackedMax` deliveries: the server sends no more than may be unacknowledged. */
const makeInbox = (): Inbox => {
  const wake = Latch.makeUnsafe(false)
  let deliveries: Array<Delivery> = []
  let failure: StoreUnavailable | undefined
  return {
    receive: (message) => {
      deliveries.push(toDelivery(message))
      wake.openUnsafe()
    },
    fail: (error) => {
      failure = error
      wake.openUnsafe()
    },
    giveBack: () => {
      for (const delivery of deliveries) delivery.nakUnsafe()
      deliveries = []
    },
    take: (accept) =>
      Effect.flatMap(wake.await, () => {
        if (deliveries.length === 0 && failure !== undefined) return Effect.fail(failure)
        const refused = deliveries.findIndex((delivery, index) => !accept(delivery) && index > 0)
        const count = refused === -1 ? deliveries.length : refused
        const taken = deliveries.slice(0, count)
        deliveries = deliveries.slice(count)
        if (deliveries.length === 0 && failure === undefined) wake.closeUnsafe()
        return Effect.succeed(taken)
      })
  }
}

const toDelivery = (message: JsMsg): Delivery => ({
  position: message.seq,
  isRepeated: message.redelivered,
  message: decodeMessage(message.string()),
  ackUnsafe: () => message.ack(),
  nakUnsafe: () => message.nak()
})
