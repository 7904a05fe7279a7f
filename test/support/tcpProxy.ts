/** A local port that forwards to a server, and can cut its connections or swallow what they say. */
import * as Net from "node:net"
import { Effect } from "effect"

export interface TcpProxy {
  readonly port: number
  /** Cuts all connections, and the next ones as soon as they are made, until `forward`. */
  readonly cut: () => void
  /** Everything a client sends from now on reaches the server; every answer is cut off with its connection. */
  readonly cutAnswers: () => void
  /** Nothing that a client sends from now on reaches the server; the connection is cut at its first byte. */
  readonly cutRequests: () => void
  /** As `cut`, but with a reset in place of an orderly end. */
  readonly reset: () => void
  /** Bytes are swallowed in both directions, connections stay open. */
  readonly silence: () => void
  /** Connections to PostgreSQL are made, and what is asked over them is swallowed, as by a host that died without a word. */
  readonly silenceStatements: () => void
  /** Once a client has sent this text, what it sends next over that connection reaches the server, and the answer is cut off with it. Once. */
  readonly loseAnswerBehind: (text: string) => void
  /** Connections that are open now. */
  readonly connections: () => number
  /** Statements that were swallowed so. */
  readonly swallowed: () => number
  /** Nothing passes, new connections included, until `forward`; then everything does, late, as after a partition. */
  readonly hold: () => void
  /** Each connection is cut after a number of pieces of its own (1 … 15), in either direction, sent on or not. */
  readonly cutAtRandom: () => void
  readonly forward: () => void
  /** What passes from now on does so this much later, in milliseconds. */
  readonly delay: (ms: number) => void
}

type Mode =
  | "forward"
  | "cut"
  | "cutAnswers"
  | "cutRequests"
  | "cutAtRandom"
  | "silence"
  | "silenceStatements"
  | "hold"

/**
 * What a client of PostgreSQL says to open a connection (a message without a type at first, then how it shows who it is) or to end it.
 * The connection before may end only now: its goodbye is no statement.
 */
const opensOrEnds = (bytes: Buffer): boolean =>
  bytes[0] === 0 || "pX".includes(String.fromCharCode(bytes[0] ?? 0))

/** A small generator of its own, so that a run can be repeated. */
const makeRng = () => {
  let state = 42
  return (sides: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * sides)
  }
}

/** Listens on a free loopback port until the scope closes. */
export const tcpProxy = (host: string, port: number) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly proxy: TcpProxy; readonly close: () => void }>((resume) => {
      let mode: Mode = "forward"
      let delayMs = 0
      let swallowed = 0
      let marker: string | undefined
      const below = makeRng()
      const pairs = new Set<readonly [Net.Socket, Net.Socket]>()
      const cutAll = (isReset: boolean) => {
        for (const socket of [...pairs].flat()) {
          if (isReset) socket.resetAndDestroy()
          else socket.destroy()
        }
      }
      const server = Net.createServer({ noDelay: true }, (client) => {
        if (mode === "cut") return client.destroy()
        const upstream = Net.connect({ port, host, noDelay: true })
        const pair = [client, upstream] as const
        pairs.add(pair)
        if (mode === "hold") for (const socket of pair) socket.pause()
        const end = () => {
          pairs.delete(pair)
          client.destroy()
          // What was sent on must arrive, so this side ends in order.
          upstream.end()
        }
        let piecesLeft = 1 + below(15)
        let sinceMarker: number | undefined
        /** Whether this piece is the connection's last, and whether it is still sent on. */
        const pass = (cutting: Mode, sendOn: () => void) => {
          if (mode === "cutAtRandom" && --piecesLeft <= 0) {
            if (below(2) === 0) sendOn()
            end()
          } else if (mode === cutting) end()
          else if (mode === "silence") return
          else if (delayMs > 0) setTimeout(sendOn, delayMs)
          else sendOn()
        }
        client.on("data", (bytes) => {
          if (sinceMarker !== undefined) sinceMarker++
          else if (marker !== undefined && bytes.includes(marker)) {
            marker = undefined
            sinceMarker = 0
          }
          if (mode === "silenceStatements" && !opensOrEnds(bytes)) swallowed++
          else pass("cutRequests", () => upstream.write(bytes))
        })
        upstream.on("data", (bytes) => {
          if (sinceMarker !== undefined && sinceMarker > 0) end()
          else pass("cutAnswers", () => client.write(bytes))
        })
        for (const socket of pair) socket.on("close", end).on("error", end)
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const set = (next: Mode, isReset?: boolean) => () => {
          mode = next
          if (next === "cut") cutAll(isReset === true)
          for (const socket of [...pairs].flat()) {
            if (next === "hold") socket.pause()
            else if (socket.isPaused()) socket.resume()
          }
        }
        resume(
          Effect.succeed({
            proxy: {
              port: typeof address === "object" && address !== null ? address.port : 0,
              cut: set("cut"),
              reset: set("cut", true),
              cutAnswers: set("cutAnswers"),
              cutRequests: set("cutRequests"),
              silence: set("silence"),
              silenceStatements: set("silenceStatements"),
              loseAnswerBehind: (text) => {
                marker = text
              },
              connections: () => pairs.size,
              swallowed: () => swallowed,
              hold: set("hold"),
              cutAtRandom: set("cutAtRandom"),
              forward: set("forward"),
              delay: (ms) => {
                delayMs = ms
              }
            },
            close: () => {
              cutAll(false)
              server.close()
            }
          })
        )
      })
    }),
    ({ close }) => Effect.sync(close)
  ).pipe(Effect.map(({ proxy }) => proxy))
