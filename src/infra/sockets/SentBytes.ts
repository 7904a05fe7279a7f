/**
 * How much of what was sent by a TCP socket is not with its peer yet. It exists because Node counts a chunk as written when its writing
 * begins, and says no more until the kernel has all of it: a peer that reads slowly but steadily looks like one that reads nothing.
 */
import { readFile } from "node:fs/promises"
import type { Socket } from "node:net"
import { endianness } from "node:os"
import { Effect, Predicate } from "effect"

/** Bytes of what is being written that the kernel has not taken. Node's own timeouts ask the handle as well, which no property of the socket shows. */
export const queuedBytes = (socket: Socket): number => {
  const handle: unknown = Reflect.get(socket, "_handle")
  return Predicate.hasProperty(handle, "writeQueueSize") ? Number(handle.writeQueueSize) : 0
}

/** What the kernel has of a connection that its peer has not acknowledged, in bytes; undefined where the kernel does not tell. */
type Unacknowledged = (socket: Socket) => number | undefined

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

/** Bytes that were written to the socket and are not with its peer yet, as far as the kernel tells. */
export const unsentBytes = (socket: Socket): Effect.Effect<number> =>
  Effect.map(
    unacknowledgedNow,
    (unacknowledgedOf) => socket.writableLength + queuedBytes(socket) + (unacknowledgedOf(socket) ?? 0)
  )
