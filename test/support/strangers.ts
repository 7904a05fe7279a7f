/**
 * What strangers say on the port of the nodes, and nodes that have the secret and then speak nonsense. The handshake is
 * pinned here byte by byte, as a node of its first version sends it, and not taken from the program.
 */
import { createHmac } from "node:crypto"
import * as Net from "node:net"
import { Effect, Exit } from "effect"

export interface Place {
  readonly host: string
  readonly port: number
}

/** A raw connection, and the bytes that came over it until it was closed. */
export const connect = (to: Place, ...chunks: ReadonlyArray<Uint8Array>) =>
  Effect.callback<Buffer>((resume) => {
    const socket = Net.connect({ host: to.host, port: to.port })
    const heard: Array<Buffer> = []
    socket.on("data", (bytes) => heard.push(bytes))
    socket.on("error", () => {})
    socket.on("close", () => resume(Exit.succeed(Buffer.concat(heard))))
    for (const chunk of chunks) socket.write(chunk)
    return Effect.sync(() => socket.destroy())
  })

/** Version 1 of the handshake. */
export const pinned = {
  helloBytes: 96,
  /** The listener's verdict and proof. */
  verdictBytes: 33,
  hello: (flags: number, purpose = 0) => {
    const hello = Buffer.alloc(96)
    hello.write("CHRNODE\n", "latin1")
    hello.set([purpose, 1, 1, flags], 8)
    hello.set(Buffer.alloc(32, 7), 16)
    return hello
  },
  proof: (by: string, key: string, hello: Buffer, answer: Buffer) =>
    createHmac("sha256", key).update(`chronicle node, ${by}\n`).update(hello).update(answer).digest()
}

/**
 * The whole handshake of a node that holds the secret, and then these bytes. Answers what it heard after its own hello: the
 * other's hello, its verdict, and whatever followed; once `enough` bytes came, or when the connection was closed. Where `again`
 * is not 0, the bytes are sent again every so many milliseconds, as pieces of one message after another.
 */
export const connectAsNode = (
  to: Place,
  secret: string,
  after: Uint8Array,
  { purpose = 0, enough = Number.POSITIVE_INFINITY, again = 0 } = {}
) =>
  Effect.callback<Buffer>((resume) => {
    const socket = Net.connect({ host: to.host, port: to.port })
    const hello = pinned.hello(1, purpose)
    let heard = Buffer.alloc(0)
    let isProven = false
    let repeating: NodeJS.Timeout | undefined
    socket.write(hello)
    socket.on("data", (more) => {
      heard = Buffer.concat([heard, more])
      if (heard.length >= pinned.helloBytes && !isProven) {
        isProven = true
        const answer = heard.subarray(0, pinned.helloBytes)
        socket.write(Buffer.concat([pinned.proof("dialer", secret, hello, answer), after]))
        if (again > 0) repeating = setInterval(() => socket.write(after), again)
      }
      if (heard.length >= enough) socket.destroy()
    })
    socket.on("error", () => {})
    socket.on("close", () => {
      clearInterval(repeating)
      resume(Exit.succeed(heard))
    })
    return Effect.sync(() => socket.destroy())
  })

/** Says that a gigabyte follows, in the form of the data path and in any that begins with a length of four bytes. */
export const gigabyteFrame = Buffer.from([0x40, 0, 0, 0, 1, 2, 3])

const anotherProgram = /another program/
const tooSlow = /did not complete the handshake/

/** What they say, and what the log of the node says of each. */
export const strangers: ReadonlyArray<
  readonly [what: string, chunks: ReadonlyArray<Uint8Array>, refusedFor: RegExp]
> = [
  ["a browser's request", [Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n")], anotherProgram],
  ["noise", [Buffer.alloc(5_000, 0xa5)], anotherProgram],
  ["a frame of a gigabyte", [gigabyteFrame, Buffer.alloc(2_000)], anotherProgram],
  ["nothing", [Buffer.alloc(0)], tooSlow],
  ["half a hello", [pinned.hello(1).subarray(0, 50)], tooSlow],
  ["a hello and nothing more", [pinned.hello(1)], tooSlow],
  ["a wrong secret", [pinned.hello(1), Buffer.alloc(32, 1)], /does not hold the secret/],
  ["no secret", [pinned.hello(0)], /CHRONICLE_CLUSTER_SECRET is set on this node/]
]

/** What a node that holds the secret says after the handshake, for either purpose of a connection. */
export const nonsense: ReadonlyArray<readonly [what: string, bytes: Uint8Array]> = [
  ["noise", Buffer.alloc(5_000, 0xa5)],
  ["a frame of a gigabyte", Buffer.concat([gigabyteFrame, Buffer.alloc(100_000)])],
  ["half a frame", Buffer.from([0, 0, 1, 0, 3, 1])],
  ["nothing", Buffer.alloc(0)]
]
