/**
 * Bounds on what a peer that does not read can hold up: a write on a connection (`withWriteTimeout`), and the end of a
 * server (`withCloseTimeout`); and on the silence of one that does not write (`withReadTimeout`). And how much of what was sent by a TCP socket
 * is not with its peer yet: Node counts a chunk as written when its writing begins, and says no more until the kernel has all of it, so that
 * a peer that reads slowly but steadily looks like one that reads nothing.
 */
import { readFile } from "node:fs/promises"
import type { Socket as NetSocket } from "node:net"
import { endianness } from "node:os"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { Clock, Effect, Option, Predicate, Schedule, type Scope, Semaphore } from "effect"
import { Socket, type SocketServer } from "effect/socket"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"

/** How often a blocked write is looked at, in milliseconds. */
const writeLookMs = 500

/** What the peer of the present connection takes. */
interface PeerWatch {
  /** A connection is open. */
  readonly openedUnsafe: () => void
  /** Whether its peer has taken nothing for too long; undefined where that is not known. */
  readonly isStuck: Effect.Effect<boolean | undefined>
  /** Something that was written has not left this process. */
  readonly hasUnsentUnsafe: () => boolean
}

/**
 * Wraps a socket: one write at a time; closes the connection when a write is blocked and the peer has taken nothing for `stuckMs`. The peer
 * may be frozen, or gone without closing. Once its buffers are full, each write of effect's socket waits with listeners
 * of its own, and so does the ping that should find this out: the connection would never end. One that takes what it is sent
 * slowly is not cut, however long a write takes. Where `watch` does not say what it takes, a write that is blocked for so long is enough.
 * What has not left when the writer's scope ends is given up with the connection.
 */
export const withWriteTimeout = Effect.fnUntraced(function* (
  inner: Socket.Socket,
  stuckMs: number,
  watch?: PeerWatch
) {
  const clock = yield* Clock.Clock

  /** Undefined while there is no connection, when a write waits for the next one. */
  let openSince: number | undefined
  let connections = 0

  const watched = Effect.fnUntraced(function* (writer: Socket.Writer) {
    const turn = Semaphore.makeUnsafe(1)
    let waitsSince: number | undefined
    const inTurn = (write: Effect.Effect<void, Socket.SocketError>) =>
      turn.withPermit(
        Effect.suspend(() => {
          waitsSince = elapsedMsUnsafe(clock)
          return Effect.ensuring(
            write,
            Effect.sync(() => {
              waitsSince = undefined
            })
          )
        })
      )
    const look = Effect.gen(function* () {
      if (waitsSince === undefined || openSince === undefined) return
      const isBlocked = elapsedMsUnsafe(clock) - Math.max(waitsSince, openSince) > stuckMs
      const isStuck = watch === undefined ? undefined : yield* watch.isStuck
      if (isStuck ?? isBlocked) yield* writer.write(new Socket.CloseEvent(1011, "the peer does not read"))
    })
    // Effect's socket ends once all that was written has left, which a frozen peer may never let it. No listener to errors is left by
    // then: with TLS, the reset of such a connection ended the process.
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() =>
        openSince !== undefined && watch?.hasUnsentUnsafe() === true
          ? Effect.ignore(writer.write(new Socket.CloseEvent(1000)))
          : Effect.void
      )
    )
    yield* look.pipe(
      Effect.ignore,
      Effect.repeat(Schedule.spaced(writeLookMs)),
      Effect.delay(writeLookMs),
      Effect.forkScoped
    )
    return {
      write: (chunk) => (Socket.isCloseEvent(chunk) ? writer.write(chunk) : inTurn(writer.write(chunk))),
      writeAll: (chunks) => inTurn(writer.writeAll(chunks))
    } satisfies Socket.Writer
  })

  const noted = Effect.acquireRelease(
    Effect.sync(() => {
      connections++
      openSince = elapsedMsUnsafe(clock)
      watch?.openedUnsafe()
    }),
    () =>
      Effect.sync(() => {
        if (--connections === 0) openSince = undefined
      })
  )
  return Socket.make({
    reader: Effect.tap(inner.reader, () => noted),
    writer: Effect.flatMap(inner.writer, watched)
  })
})

/** How often, within the time that a peer may be silent, it is looked whether it was. */
const silentLooks = 8
/** So many bytes are taken from one look to another by a peer that is sent a large message, however slow its line: pings are fewer. */
const takenMin = 4_096

/** Where the bytes are that were handed to a connection. */
interface Sent {
  /** With the peer, as far as that is known. */
  readonly taken: number
  /** Not with the kernel yet. */
  readonly queued: number
  /** With the kernel, and not with the peer. */
  readonly unacknowledged: number
}

/**
 * Whether the peer takes a message behind which the ping waits, of two looks. The kernel of a peer that stands still takes what is little, so bytes that
 * are taken as they are written say nothing; those for which the own kernel has no room do, or those that become fewer.
 */
const isTakingMore = (before: Sent, now: Sent): boolean => {
  const left = ({ queued, unacknowledged }: Sent) => queued + unacknowledged
  return now.taken - before.taken >= takenMin && (before.queued > 0 || left(before) - left(now) >= takenMin)
}

const peerIsSilent = () =>
  new Socket.SocketError({ reason: new Socket.SocketReadError({ cause: new Error("the peer is silent") }) })

/** The present connection beneath a socket, which shows nothing of what was taken, and of a message nothing before all of it is there where it is a WebSocket. */
interface Beneath {
  readonly bytesReadUnsafe: () => number
  readonly sent: Effect.Effect<Sent>
  /** Ends it without a word of farewell, for which a WebSocket would wait. */
  readonly endUnsafe: () => void
}

/**
 * Wraps a socket: closes the connection when its peer, which is pinged, sends nothing for `silentMs` while it is listened to. Effect's own
 * pings go by answers that are complete: one that is large and comes slowly, or is taken slowly here, would be silence to them. By what is
 * `beneath` one that takes a large message slowly is not silent either: the pings stand behind that.
 */
export const withReadTimeout = (inner: Socket.Socket, silentMs: number, beneath: Beneath): Socket.Socket =>
  Socket.make({
    writer: inner.writer,
    reader: Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const reader = yield* inner.reader
      const lookMs = silentMs / silentLooks
      let waitsSince: number | undefined
      let suspected: number | undefined
      let isGivenUp = false
      let bytesRead = beneath.bytesReadUnsafe()
      let sent: Sent | undefined
      /** Looks whether a peer that has sent nothing for a while takes something: what the kernel tells costs more than the rest. */
      const lookAtSent = Effect.suspend(() => {
        const isQuiet = waitsSince !== undefined && elapsedMsUnsafe(clock) - waitsSince >= silentMs / 2
        if (!isQuiet) {
          sent = undefined
          return Effect.void
        }
        return Effect.map(beneath.sent, (now) => {
          const isTaking = sent !== undefined && isTakingMore(sent, now)
          if (isTaking && waitsSince !== undefined) waitsSince = elapsedMsUnsafe(clock)
          sent = now
        })
      })
      const look = Effect.suspend(() => {
        const bytes = beneath.bytesReadUnsafe()
        // A part of a message came, for the rest of which is waited anew.
        if (bytes !== bytesRead && waitsSince !== undefined) waitsSince = elapsedMsUnsafe(clock)
        bytesRead = bytes
        const isSilent = waitsSince !== undefined && elapsedMsUnsafe(clock) - waitsSince > silentMs - lookMs
        // Seen twice: where this process itself stood still, what the peer sent is read between the two looks.
        isGivenUp = isSilent && suspected === waitsSince
        suspected = isSilent ? waitsSince : undefined
        return isGivenUp ? Effect.sync(beneath.endUnsafe) : Effect.void
      })
      yield* lookAtSent.pipe(
        Effect.andThen(look),
        Effect.ignore,
        Effect.delay(lookMs),
        Effect.forever,
        Effect.forkScoped
      )
      const pull = Effect.suspend(() => {
        waitsSince = elapsedMsUnsafe(clock)
        return Effect.ensuring(
          // Effect's socket tells of an end from here by its code alone.
          Effect.mapError(reader.pull, (error) => (isGivenUp ? peerIsSilent() : error)),
          Effect.sync(() => {
            waitsSince = undefined
          })
        )
      })
      return { ...reader, pull }
    })
  })

/** How long what was written may take to leave once the server ends, in milliseconds. */
const leaveMs = 1_000
/** How often it is looked whether all connections have closed, in milliseconds. */
const closeLookMs = 10

type Server = SocketServer.SocketServer["Service"]

/**
 * Wraps a socket server: once it ends, connections that do not close within a second are destroyed. Effect's server waits
 * until everything that was written has left, so one peer that is frozen or does not read would keep a process that was
 * told to end alive for ever.
 */
export const withCloseTimeout = <E>(make: Effect.Effect<Server, E, Scope.Scope>) =>
  Effect.gen(function* () {
    const server = yield* make
    const open = new Set<NodeSocket.NetSocket["Service"]>()
    const areGone = Effect.sleep(closeLookMs).pipe(
      Effect.repeat({ while: () => open.size > 0 }),
      Effect.timeoutOption(leaveMs)
    )
    // Added after the server's own finalizer, so it runs before that: the handlers have ended, and their last writes are on
    // the way.
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => (open.size === 0 ? Effect.void : areGone)).pipe(
        Effect.andThen(
          Effect.sync(() => {
            for (const connection of open) connection.destroy()
          })
        )
      )
    )
    return {
      ...server,
      run: (handler) =>
        server.run((socket) =>
          Effect.flatMap(Effect.serviceOption(NodeSocket.NetSocket), (found) => {
            if (Option.isSome(found)) {
              open.add(found.value)
              found.value.once("close", () => open.delete(found.value))
            }
            return handler(socket)
          })
        )
    } satisfies Server
  })

/** Bytes of what is being written that the kernel has not taken. Node's own timeouts ask the handle as well, which no property of the socket shows. */
export const queuedBytes = (socket: NetSocket): number => handleCount(socket, "writeQueueSize")

/** Of a socket of TLS by the handle beneath its own, which counts a chunk as waiting until all of it has left. */
const handleCount = (socket: NetSocket, name: "writeQueueSize" | "bytesWritten"): number => {
  const own: unknown = Reflect.get(socket, "_handle")
  const handle = Predicate.hasProperty(own, "_parent") ? own._parent : own
  return Predicate.hasProperty(handle, name) ? Number(handle[name]) : 0
}

/** What the kernel has of a connection that its peer has not acknowledged, in bytes; undefined where the kernel does not tell. */
type Unacknowledged = (socket: NetSocket) => number | undefined

/** The 16 bytes of an IPv6 address, or the 4 of an IPv4 address. */
const bytesOf = (address: string): ReadonlyArray<number> => {
  const [text = ""] = address.split("%")
  const tail = /^(.*:)?(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text)
  const last = tail === null ? [] : tail.slice(2).map(Number)
  const words = tail === null ? text : (tail[1] ?? "").replace(/([^:]):$/, "$1")
  if (words === "") return last
  const bytes = (part: string) =>
    part.split(":").flatMap((word) => {
      const value = Number.parseInt(word, 16)
      return word === "" ? [] : [value >> 8, value & 255]
    })
  const [before = "", after] = words.split("::")
  const [left, right] = [bytes(before), [...bytes(after ?? ""), ...last]]
  return [...left, ...Array.from({ length: 16 - left.length - right.length }, () => 0), ...right]
}

const hex = (value: number, digits: number): string => value.toString(16).toUpperCase().padStart(digits, "0")

/** An end of a connection as the table of the kernel has it: words of four bytes in the order of the machine, and the port. */
export const printEnd = (address: string, port: number, order = endianness()): string => {
  const bytes = bytesOf(address)
  let text = ""
  for (let at = 0; at < bytes.length; at += 4) {
    const word = bytes.slice(at, at + 4)
    text += (order === "LE" ? word.reverse() : word).map((byte) => hex(byte, 2)).join("")
  }
  return `${text}:${hex(port, 4)}`
}

/** A line is: number, own end, other end, state, bytes that wait to be acknowledged and to be read, and more. */
const linePattern = /^ *\d+: (\S+ \S+) \S+ ([0-9A-F]+):/gm
const tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]

/** Looks once, for any number of sockets. On Linux; elsewhere the kernel does not tell. */
export const unacknowledgedNow: Effect.Effect<Unacknowledged> = Effect.map(
  Effect.forEach(tables, (path) =>
    Effect.orElseSucceed(
      Effect.tryPromise(() => readFile(path, "latin1")),
      () => ""
    )
  ),
  (texts) => {
    const known = new Map<string, number>()
    for (const text of texts)
      for (const [, ends = "", bytes = ""] of text.matchAll(linePattern))
        known.set(ends, Number.parseInt(bytes, 16))
    return ({ localAddress, localPort, remoteAddress, remotePort }) =>
      localAddress === undefined ||
      localPort === undefined ||
      remoteAddress === undefined ||
      remotePort === undefined
        ? undefined
        : known.get(`${printEnd(localAddress, localPort)} ${printEnd(remoteAddress, remotePort)}`)
  }
)

/** As far as the kernel tells. */
export const sentBytes = (socket: NetSocket): Effect.Effect<Sent> =>
  Effect.map(unacknowledgedNow, (unacknowledgedOf) => {
    const [queued, unacknowledged] = [queuedBytes(socket), unacknowledgedOf(socket) ?? 0]
    return { taken: handleCount(socket, "bytesWritten") - queued - unacknowledged, queued, unacknowledged }
  })
