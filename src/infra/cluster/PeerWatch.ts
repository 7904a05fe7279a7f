/** Whether a node takes what another one, or a client, sends to it, by the bytes that its connection has passed on (`StuckPeers`). */
import type { Socket } from "node:net"
import { Clock, Effect } from "effect"
import { queuedBytes } from "./SocketTimeouts.ts"
import { StuckPeers } from "./StuckPeers.ts"

/** `beneath` is the TCP socket of the present connection, where that is known. */
export const watchPeer = (stuckMs: number, beneath: () => Socket | undefined) =>
  Clock.clockWith((clock) =>
    Effect.sync(() => {
      const peers = new StuckPeers(clock, stuckMs)
      return {
        openedUnsafe: () => {
          const socket = beneath()
          if (socket !== undefined) peers.add(socket)
        },
        isStuck: Effect.suspend(() => {
          const socket = beneath()
          return socket === undefined
            ? Effect.undefined
            : Effect.map(peers.find, (stuck) => stuck.includes(socket))
        }),
        hasUnsentUnsafe: () => {
          const socket = beneath()
          return socket !== undefined && (queuedBytes(socket) > 0 || socket.writableLength > 0)
        }
      }
    })
  )
