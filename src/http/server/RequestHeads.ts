/**
 * What is wrong with the head of a request before anything of it is looked at. It exists because Node would refuse these requests by
 * itself, with an answer that has neither a problem document nor the headers of every other answer.
 */
import { IncomingMessage, type Server } from "node:http"
import type { HttpServerRequest } from "effect/http"
import { InvalidCommand } from "../../domain/Errors.ts"
import { ExpectationFailed } from "../api/Problems.ts"

/** The one expectation that there is, as Node finds it. */
const continues = /(?:^|\W)100-continue(?:$|\W)/i

/** Lets requests that expect something else come as every other does. */
export const takeExpecting = (server: Server): void => {
  server.on("checkExpectation", (request, response) => server.emit("request", request, response))
}

/** Names stand at even places, values behind them. */
const hostsIn = (rawHeaders: ReadonlyArray<string>): number => {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name?.length === 4 && name.toLowerCase() === "host") hosts++
  }
  return hosts
}

/** Of a request of HTTP/1.1: older ones need not name their host, and expect nothing. */
export const headFault = ({
  source
}: HttpServerRequest.HttpServerRequest): InvalidCommand | ExpectationFailed | undefined => {
  if (!(source instanceof IncomingMessage) || source.httpVersion !== "1.1") return undefined
  // Of several, a proxy before this server may have taken another one than the first (RFC 9112, 3.2).
  if (hostsIn(source.rawHeaders) !== 1)
    return InvalidCommand.at("Host", "must be there once in a request of HTTP/1.1")
  const { expect } = source.headers
  return expect === undefined || continues.test(expect)
    ? undefined
    : new ExpectationFailed({ expected: "100-continue" })
}
