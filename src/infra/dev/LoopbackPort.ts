/** Finds a port of 127.0.0.1 on which nothing listens, or checks that a wanted one is free. */
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import { Effect } from "effect"
import { PortInUse, type ServiceFailed } from "./DevStackErrors.ts"

/**
 * The port is free when looked at, not reserved: another process may take it before the caller has started its
 * server.
 */
export const loopbackPort = (service: string, wanted?: number): Effect.Effect<number, PortInUse> =>
  NodeSocketServer.make({ host: "127.0.0.1", port: wanted ?? 0 }).pipe(
    Effect.map(({ address }) => ("port" in address ? address.port : 0)),
    Effect.scoped,
    Effect.mapError(() => new PortInUse({ service, port: wanted ?? 0 }))
  )

/** How often a server is started again on another port when another process took the chosen one first. */
const otherPortsMax = 3

/** Starts a server on the wanted port, or on a chosen one. */
export const onLoopbackPort = <A, E, R>(
  service: string,
  wanted: number | undefined,
  start: (port: number) => Effect.Effect<A, E | ServiceFailed, R>
): Effect.Effect<A, E | ServiceFailed | PortInUse, R> =>
  loopbackPort(service, wanted).pipe(
    Effect.flatMap(start),
    Effect.retry({
      times: otherPortsMax,
      while: (error) =>
        wanted === undefined &&
        typeof error === "object" &&
        error !== null &&
        "log" in error &&
        /address already in use/i.test(String(error.log))
    })
  )
