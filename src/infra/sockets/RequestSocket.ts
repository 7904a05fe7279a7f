/** The socket by which a request of HTTP came, which effect's request keeps to itself. */
import type { Socket } from "node:net"
import type { HttpServerRequest } from "effect/http"

const isSocket = (value: unknown): value is Socket =>
  typeof value === "object" && value !== null && "remoteAddress" in value && "destroy" in value

/** Undefined for a request that was made in memory. */
export const socketOf = ({ source }: HttpServerRequest.HttpServerRequest): Socket | undefined => {
  const socket: unknown = "socket" in source ? source.socket : undefined
  return isSocket(socket) ? socket : undefined
}
