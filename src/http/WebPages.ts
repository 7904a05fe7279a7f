/**
 * Tells requests that a page in a browser may have sent from those of the machine's own programs. It exists because a browser on this
 * machine reaches its loopback for pages of any origin, also under a name of the page's own (DNS rebinding).
 */
import type { HttpServerRequest } from "effect/http"
import { isLoopback } from "../infra/config/ClusterSecurity.ts"

const hostOf = (authority: string): string => authority.replace(/:\d+$/, "").replace(/^\[|\]$/g, "")

/** What a browser says of requests for pages of other sites, and of other ports of the loopback. */
const foreign: ReadonlySet<string> = new Set(["cross-site", "same-site"])

/**
 * Why a request cannot come from the machine's own programs. Where no token is asked for, a page in a browser must not act in its
 * user's name. Its requests carry an `Origin`, or reach the loopback by a name of the page's own; those that it makes without asking,
 * as for an image, carry no `Origin`, but browsers say of them in `Sec-Fetch-Site` whose page they are for.
 */
export const webPageFault = ({ headers }: HttpServerRequest.HttpServerRequest): string | undefined => {
  const { host, origin, "sec-fetch-site": site } = headers
  // Every browser names the host. A client of HTTP/1.0 need not, and any other that does not is refused.
  if (host !== undefined && !isLoopback(hostOf(host)))
    return `without tokens the host must be loopback, not ${host.slice(0, 64)}`
  if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`)
    return "without tokens no pages of other origins are served"
  if (site !== undefined && foreign.has(site.trim().toLowerCase()))
    return "without tokens nothing is served for pages of other origins"
  return undefined
}
