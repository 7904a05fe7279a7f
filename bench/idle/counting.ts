/**
 * Loaded by `--import` into each thread of a node (`npm run bench:idle`): counts the timers that are set and that fire, by their milliseconds,
 * and what is written to PostgreSQL, by its statement, and to other sockets. Writes all that so far to a file a thread, once a second.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { Socket } from "node:net"
import { join } from "node:path"
import { isMainThread } from "node:worker_threads"
import type { Counts } from "./Counts.ts"

const folder = process.env.CHRONICLE_BENCH_COUNTS ?? ""
const postgresPorts = new Set(process.env.CHRONICLE_BENCH_POSTGRES?.split(",").map(Number))
const counts: Counts = { set: {}, fired: {}, statements: {}, writes: {} }

const count = (of: Record<string, number>, key: string): void => {
  of[key] = (of[key] ?? 0) + 1
}

const countTimers = (name: "setTimeout" | "setInterval"): void => {
  const original = globalThis[name]
  const counting = (
    callback: (...args: ReadonlyArray<unknown>) => void,
    ms = 1,
    ...args: ReadonlyArray<unknown>
  ) => {
    const key = `${name === "setTimeout" ? "" : "each "}${Math.round(ms)}`
    count(counts.set, key)
    return original(() => {
      count(counts.fired, key)
      callback(...args)
    }, ms)
  }
  // With what `util.promisify` looks for.
  Object.assign(globalThis, { [name]: Object.assign(counting, original) })
}

const textUntilZero = (bytes: Buffer, from: number): string =>
  bytes.toString("utf8", from, bytes.indexOf(0, from))

/** Of one connection: the texts of its prepared statements by their names. */
const prepared = new WeakMap<Socket, Map<string, string>>()

/** The messages of PostgreSQL's protocol that these bytes begin: a letter, the length, and the rest. */
const countStatements = (socket: Socket, bytes: Buffer): void => {
  const names = prepared.get(socket) ?? new Map<string, string>()
  prepared.set(socket, names)
  for (let at = 0; at + 5 <= bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
    const letter = String.fromCharCode(bytes[at] ?? 0)
    if (letter === "\0") return count(counts.statements, "(a connection is opened)")
    if (letter === "Q") count(counts.statements, textUntilZero(bytes, at + 5))
    const name = textUntilZero(bytes, at + 5)
    if (letter === "P") names.set(name, textUntilZero(bytes, at + 6 + Buffer.byteLength(name)))
    if (letter === "B") {
      const statement = textUntilZero(bytes, at + 6 + Buffer.byteLength(name))
      count(counts.statements, names.get(statement) ?? "(prepared before)")
    }
  }
}

const countWrites = (): void => {
  const { write } = Socket.prototype
  const counting = function (this: Socket, ...args: Parameters<typeof write>) {
    const [data] = args
    const bytes =
      typeof data === "string"
        ? Buffer.from(data)
        : Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    if (postgresPorts.has(this.remotePort ?? 0)) countStatements(this, bytes)
    else if (this.remotePort !== undefined)
      count(counts.writes, bytes.toString("latin1", 0, 60).split("\r\n")[0] ?? "")
    return write.apply(this, args)
  }
  Socket.prototype.write = counting as typeof write // it passes all arguments on
}

mkdirSync(folder, { recursive: true })
const file = join(folder, isMainThread ? "commands.json" : "readSide.json")
setInterval(() => writeFileSync(file, JSON.stringify(counts)), 1_000).unref()
countTimers("setTimeout")
countTimers("setInterval")
countWrites()
