/** A server of sockets enters; the same, whose end waits only so long for peers that do not read, leaves. */
import { NodeSocket } from "@effect/platform-node"
import { Effect, Option, type Scope } from "effect"
import type { SocketServer } from "effect/socket"

/** How long what was written may take to leave once the server ends, in milliseconds. */
const leaveMs = 1_000
const lookMs = 10

type Server = SocketServer.SocketServer["Service"]

/**
 * Effect's server lets a connection go when all that was written to it has left, and ends when every connection has gone.
 * One peer that is frozen, or does not read, would keep a process that was told to end alive for ever.
 */
export const withCloseTimeout = <E>(make: Effect.Effect<Server, E, Scope.Scope>) =>
  Effect.gen(function* () {
    const server = yield* make
    const open = new Set<NodeSocket.NetSocket["Service"]>()
    const areGone = Effect.sleep(lookMs).pipe(
      Effect.repeat({ while: () => open.size > 0 }),
      Effect.timeoutOption(leaveMs)
    )
    // Added after the server's own, so it runs before: when the handlers have ended, and their last words are on the way.
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
