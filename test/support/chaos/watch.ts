/**
 * The watch over some accounts of a chaos run: each gets one deposit after another through nodes that are not being
 * disrupted, and is asked for its balance in between. Tells how long each account was without service, and every
 * balance that was older than it may be.
 */
import { Deferred, Effect, Exit, Layer, Option, Result, Schedule } from "effect"
import type { CommandId } from "../../../src/domain/Ids.ts"
import type { Receipt } from "../../../src/domain/Receipt.ts"
import { Ledger } from "../../../src/Ledger.ts"
import { LedgerClient } from "../../../src/rpc/client/LedgerClient.ts"
import type { Answer, Identified, Journal } from "./journal.ts"
import type { ServedNode } from "./servedNode.ts"

export interface Watch {
  readonly accounts: ReadonlyArray<string>
  /** From now on no question goes to this node, and answers that it still owes are not waited for. */
  readonly avoid: (node: ServedNode) => void
  readonly allow: (node: ServedNode) => void
  /** The longest time without service of the account, from an instant of `performance.now()` to now. */
  readonly longestGapMs: (account: string, from: number) => number
  /** The longest wait, since that instant, for a balance that includes a receipt's write, over all accounts. */
  readonly longestReadMs: (from: number) => number
  /** Ends when the journal is over. */
  readonly run: Effect.Effect<void>
}

/** A client of one node. */
interface NodeClient {
  readonly node: ServedNode
  readonly ledger: Ledger["Service"]
  /** Done while the node is avoided. */
  avoided: Deferred.Deferred<void>
}

const makeNodeClient = Effect.fnUntraced(function* (node: ServedNode, isAvoided: boolean) {
  const layer = LedgerClient.layer({ urls: [node.rpcUrl] })
  const ledger = yield* Effect.provide(Ledger, yield* Effect.orDie(Layer.build(layer)))
  const avoided = Deferred.makeUnsafe<void>()
  if (isAvoided) Deferred.doneUnsafe(avoided, Exit.void)
  const client: NodeClient = { node, ledger, avoided }
  return client
})

/** When each account was served, and how long balances with a read token were waited for. */
class ServiceTimes {
  readonly #served: Map<string, Array<number>>
  readonly #reads: Array<{ readonly at: number; readonly ms: number }> = []

  constructor(accounts: ReadonlyArray<string>) {
    this.#served = new Map(accounts.map((account) => [account, [performance.now()]]))
  }

  served(account: string): void {
    this.#served.get(account)?.push(performance.now())
  }

  read(since: number): void {
    const at = performance.now()
    this.#reads.push({ at, ms: at - since })
  }

  longestGapMs(account: string, from: number): number {
    let longest = 0
    let last = from
    for (const time of [...(this.#served.get(account) ?? []), performance.now()]) {
      if (time <= from) continue
      longest = Math.max(longest, time - last)
      last = time
    }
    return Math.round(longest)
  }

  longestReadMs(from: number): number {
    return Math.round(Math.max(0, ...this.#reads.filter(({ at }) => at > from).map(({ ms }) => ms)))
  }
}

/**
 * Asks a node that is not avoided, for `commands` one that takes them: it owns accounts, too, and so tells strong balances.
 * Undefined if the node is avoided before it answers.
 */
type Ask = <A, E>(
  question: (ledger: Ledger["Service"]) => Effect.Effect<A, E>,
  needs?: "commands"
) => Effect.Effect<Result.Result<A, E> | undefined>

/** In turn, over all clients of nodes that are not avoided. */
const makeAsk = (clients: ReadonlyArray<NodeClient>): Ask => {
  let turn = 0
  return (question, needs) =>
    Effect.suspend(() => {
      const allowed = clients.filter(
        ({ avoided, node }) =>
          !Deferred.isDoneUnsafe(avoided) && (needs === undefined || node.role !== "read-side")
      )
      const client = allowed[turn++ % allowed.length]
      if (client === undefined) return Effect.die(new Error("every node is avoided"))
      return Effect.raceFirst(
        Effect.result(question(client.ledger)),
        Effect.as(Deferred.await(client.avoided), undefined)
      )
    })
}

/** Whatever was acknowledged before the question must be in a balance that is given its token; strong ones are judged later. */
const checkBalance = Effect.fnUntraced(function* (
  ask: Ask,
  account: string,
  receipt: Receipt,
  isStrong: boolean,
  times: ServiceTimes,
  journal: Journal
) {
  if (isStrong) {
    const told = ask((ledger) => ledger.strongBalance(account), "commands")
    const view = Effect.map(told, (result) => result && Option.getOrUndefined(Result.getSuccess(result)))
    return yield* journal.askStrong(account, view)
  }
  const version = receipt.postings[0]?.version ?? 0
  const start = performance.now()
  const view = yield* ask((ledger) => ledger.balance(account, { readToken: receipt.readToken }))
  if (view === undefined || Result.isFailure(view)) return
  times.read(start)
  if (view.success.version >= version) return
  journal.stale.push(
    `the balance with a read token of ${account} was of version ${view.success.version}, after ${version}`
  )
})

/** `spare` does not run yet; the others do. */
export const makeWatch = Effect.fnUntraced(function* (
  nodes: ReadonlyArray<ServedNode>,
  spare: ServedNode,
  journal: Journal,
  accounts: ReadonlyArray<string>,
  pauseMs: number
) {
  const clients = yield* Effect.forEach([...nodes, spare], (node) => makeNodeClient(node, node === spare))
  const clientsOf = (node: ServedNode) => clients.filter((client) => client.node === node)
  const times = new ServiceTimes(accounts)
  const ask = makeAsk(clients)
  const send = (command: Identified) =>
    journal.sendUntilDecided(command, (sent) =>
      Effect.map(
        ask((ledger) => ledger.dispatch(sent), "commands"),
        (answer): Answer => answer ?? Result.fail({ _tag: "Indeterminate" })
      )
    )
  const untilOver = (ms: number) => ({ schedule: Schedule.spaced(ms), while: () => !journal.isOver })

  const watchAccount = Effect.fnUntraced(function* (account: string) {
    const id = (what: string) => `${account}-${what}` as CommandId // of the characters of an id
    let last: Receipt | undefined
    let deposits = 0
    let balances = 0
    const deposit = Effect.gen(function* () {
      const commandId = id(`${deposits++}`)
      const receipt = yield* send({ _tag: "Deposit", commandId, account, amount: 1n })
      times.served(account)
      last = receipt ?? last
    })
    const balance = Effect.suspend(() => {
      const isStrong = balances++ % 2 === 0
      return last === undefined ? Effect.void : checkBalance(ask, account, last, isStrong, times, journal)
    })
    yield* send({ _tag: "OpenAccount", commandId: id("open"), account, asset: "USD/2", owner: "Ada" })
    // Balances are asked for beside the deposits, so that a wait for the read model does not delay a deposit.
    yield* Effect.all(
      [Effect.repeat(deposit, untilOver(pauseMs)), Effect.repeat(balance, untilOver(2 * pauseMs))],
      { concurrency: "unbounded", discard: true }
    )
  })

  return {
    accounts,
    avoid: (node) => {
      for (const { avoided } of clientsOf(node)) Deferred.doneUnsafe(avoided, Exit.void)
    },
    allow: (node) => {
      for (const client of clientsOf(node)) client.avoided = Deferred.makeUnsafe()
    },
    longestGapMs: (account, from) => times.longestGapMs(account, from),
    longestReadMs: (from) => times.longestReadMs(from),
    run: Effect.forEach(accounts, watchAccount, { concurrency: "unbounded", discard: true })
  } satisfies Watch
})
