/**
 * A process of readers of server-sent events for `bench/streams.ts`, so that what reading costs is counted apart from the node: half of
 * them follow an account each, half a prefix of the feed. Answers each message of its parent with what came so far.
 */
import { request } from "node:http"
import { account } from "./servedNode.ts"

/** What the readers of one process have had. */
export interface ReadersSeen {
  readonly open: number
  readonly events: number
  readonly chunks: number
  readonly ended: number
}

const [port = 0, first = 0, count = 0] = process.argv.slice(2).map(Number)
const seen = { open: 0, events: 0, chunks: 0, ended: 0 }
const marker = Buffer.from("\nid: ")

/** Events whose id begins in this chunk; an event is never cut, so its id follows upon the end of a line or of the chunk before. */
const eventsIn = (chunk: Buffer): number => {
  let found = chunk.subarray(0, 4).equals(marker.subarray(1)) ? 1 : 0
  for (let at = chunk.indexOf(marker); at >= 0; at = chunk.indexOf(marker, at + 1)) found++
  return found
}

const open = (index: number): void => {
  const id = account(index * 7)
  const path = index % 2 === 0 ? `/v1/accounts/${id}/events` : `/v1/feed?accountPrefix=${id}&after=now`
  request({ port, path, headers: { accept: "text/event-stream" } }, (response) => {
    seen.open++
    response.on("data", (chunk: Buffer) => {
      seen.chunks++
      seen.events += eventsIn(chunk)
    })
    response.on("close", () => {
      seen.ended++
    })
  })
    .on("error", () => {})
    .end()
}

/** Some at a time, so that the node's queue of new connections does not overflow. */
const openFrom = (index: number): void => {
  for (let nth = index; nth < Math.min(index + 25, first + count); nth++) open(nth)
  if (index + 25 < first + count) setTimeout(() => openFrom(index + 25), 50)
}
openFrom(first)

process.on("message", () => process.send?.({ ...seen } satisfies ReadersSeen))
process.on("disconnect", () => process.exit(0))
