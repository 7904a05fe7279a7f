/**
 * Which addresses webhooks are sent to. A name is judged by the addresses that it has at the very moment of connecting, in the
 * resolver that the connection itself uses: one that had a public address when it was checked may have another by then (DNS rebinding).
 */
import { BlockList, isIP, type LookupFunction } from "node:net"
import * as threads from "node:worker_threads"
import { Effect, Result } from "effect"
import { forgetOldest } from "../config/ForgetOldest.ts"
import type { WebhookRules } from "../config/WebhookConfig.ts"

/** What the registries of special-purpose addresses (RFC 6890, IANA) say is not of the public Internet. */
const special = new BlockList()
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4]
] as const)
  special.addSubnet(net, bits, "ipv4")
// Teredo and other tunnels, documentation, 6to4: their addresses may hold one of the private networks above.
for (const [net, bits] of [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20]
] as const)
  special.addSubnet(net, bits, "ipv6")

/** All of IPv6 that is routed on the public Internet. Mapped and translated IPv4, local and multicast addresses lie outside. */
const global6 = new BlockList()
global6.addSubnet("2000::", 3, "ipv6")

/** An address, without the zone of a link. */
export const isPublic = (address: string): boolean => {
  switch (isIP(address)) {
    case 4:
      return !special.check(address, "ipv4")
    case 6:
      return global6.check(address, "ipv6") && !special.check(address, "ipv6")
    default:
      return false
  }
}

const notPublic = (address: string): string =>
  `${address} is not an address of the public Internet: CHRONICLE_WEBHOOK_ALLOW_PRIVATE=true allows it`

/** The URL of an endpoint, or what is wrong with it. A name is not resolved here, but whenever a connection is opened. */
export const endpointUrl = (
  text: string,
  { allowHttp, allowPrivate }: WebhookRules
): Result.Result<URL, string> => {
  const url = URL.parse(text)
  if (url === null) return Result.fail("must be a whole URL: https://host/path")
  if (url.protocol !== "https:" && url.protocol !== "http:") return Result.fail("must begin with https://")
  if (url.protocol === "http:" && !allowHttp)
    return Result.fail("must begin with https://: CHRONICLE_WEBHOOK_ALLOW_HTTP=true allows http://")
  if (url.username !== "" || url.password !== "") return Result.fail("must not have a user or password")
  if (url.hash !== "") return Result.fail("must not have a fragment")
  // No name is looked up for these, so that the resolver below never sees them.
  const host = url.hostname.replace(/^\[|\]$/g, "")
  if (isIP(host) !== 0 && !allowPrivate && !isPublic(host)) return Result.fail(notPublic(host))
  return Result.succeed(url)
}

/** An address that was found is not allowed. Nothing was sent. */
class AddressRefused extends Error {
  override readonly name = "AddressRefused"
}

/** The resolver of connections: all addresses of a name, none of them where one is not allowed. */
export const guardedLookup =
  ({ allowPrivate }: Pick<WebhookRules, "allowPrivate">, resolve: LookupFunction): LookupFunction =>
  (hostname, options, callback) =>
    resolve(hostname, { ...options, all: true }, (error, found, family) => {
      const addresses = Array.isArray(found) ? found : [{ address: found, family: family ?? 4 }]
      const [first] = addresses
      const refused = addresses.find(({ address }) => !allowPrivate && !isPublic(address))
      if (error !== null) callback(error, [])
      else if (refused !== undefined)
        callback(
          new AddressRefused(
            `${hostname} resolves to an address that is not allowed: ${notPublic(refused.address)}`
          ),
          []
        )
      else if (first === undefined) callback(new AddressRefused(`${hostname} has no address`), [])
      else if (options.all === true) callback(null, addresses)
      else callback(null, first.address, first.family)
    })

/** A name that took longer, in milliseconds, is looked up behind all others. */
const slowMs = 1_000
/** So many slow names are remembered, those that were slow last. */
const slowNamesMax = 100

type Answer = Parameters<LookupFunction>[2]

interface Asked {
  readonly options: Parameters<LookupFunction>[1]
  readonly answers: Array<{ readonly answer: Answer; readonly until: number }>
}

/** Calls back once a lookup may begin, with a function that is to be called as it ends. */
type Turns = (take: (done: () => void) => void) => void

/**
 * How often a thread looks whether the lookup of another one has ended, in milliseconds. A look costs some microseconds. The next lookup of the
 * thread itself waits for one too, for Node frees a lock a moment after its holder is done; and another thread comes between them.
 */
const turnLookMs = 2

/**
 * The turns of all threads of the process. Node has locks of threads from 24.5 on; before, each thread takes turns by itself, and two slow
 * names at once, of a delivery and of a test, hold up all others of the process. No thread waits in the line of such a lock, because none is
 * woken there where the thread that had the lock was ended.
 */
export const turnsOfProcess = (run: (turn: Effect.Effect<void>) => void): Turns => {
  const locks: typeof threads.locks | undefined = threads.locks
  if (locks === undefined) return (take) => take(() => {})
  const turn = (take: (done: () => void) => void): Effect.Effect<void> =>
    Effect.flatMap(
      Effect.promise(() =>
        locks.request("chronicle names of webhooks", { ifAvailable: true }, (lock) =>
          lock === null ? false : new Promise<boolean>((done) => take(() => done(true)))
        )
      ),
      (wasHad) => (wasHad ? Effect.void : Effect.delay(turn(take), turnLookMs))
    )
  return (take) => run(turn(take))
}

/** Nothing was looked up. */
class LookupLate extends Error {
  override readonly name = "LookupLate"
}

/**
 * `resolve` for one name at a time. The system's resolver runs in threads that the whole process shares, at most two of them at once, and
 * cannot be stopped: endpoints whose names resolve slowly would keep the connections of the node to its databases waiting, and each other. It
 * is the system's all the same, which alone knows the machine's file of hosts and its search domains. The thread that delivers and the one
 * that tests endpoints have a queue each, and their lookups the turns that `turns` gives them.
 *
 * Lookups of a name that is asked for already get the same answer. A name whose lookups have all waited for longer than `waitMs` is not asked
 * for any more, since their attempts are over. `nowMs`: time elapsed.
 */
export const oneAtATime = (
  resolve: LookupFunction,
  waitMs: number,
  nowMs: () => number,
  turns: Turns = (take) => take(() => {})
): LookupFunction => {
  /** By name, the one under way included. */
  const asked = new Map<string, Asked>()
  const slow = new Set<string>()
  let isBusy = false

  const forgetLate = (): void => {
    const now = nowMs()
    for (const [name, { answers }] of asked) {
      if (answers.some(({ until }) => until > now)) continue
      asked.delete(name)
      for (const { answer } of answers)
        answer(new LookupLate(`${name} was not looked up: the names of other webhooks take too long`), [])
    }
  }

  const note = (name: string, tookMs: number): void => {
    slow.delete(name)
    if (tookMs < slowMs) return
    slow.add(name)
    forgetOldest(slow, slowNamesMax)
  }

  const lookUpNext = (): void => {
    if (isBusy || asked.size === 0) return
    isBusy = true
    turns(takeTurn)
  }

  const takeTurn = (done: () => void): void => {
    forgetLate()
    const names = [...asked.keys()]
    const name = names.find((one) => !slow.has(one)) ?? names[0]
    const next = name === undefined ? undefined : asked.get(name)
    const end = (): void => {
      isBusy = false
      done()
    }
    if (name === undefined || next === undefined) return end()
    const begunMs = nowMs()
    resolve(name, next.options, (error, found, family) => {
      end()
      asked.delete(name)
      note(name, nowMs() - begunMs)
      for (const { answer } of next.answers) answer(error, found, family)
      lookUpNext()
    })
  }

  return (name, options, answer) => {
    const one = { answer, until: nowMs() + waitMs }
    const known = asked.get(name)
    if (known === undefined) asked.set(name, { options, answers: [one] })
    else known.answers.push(one)
    lookUpNext()
  }
}
