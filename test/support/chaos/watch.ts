/**
 * Some accounts enter; each gets one deposit after another over nodes that are not in trouble, and is asked for its
 * balance in between. When each was served, and every answer older than the one before, leaves.
 */
import { Deferred, Effect, Exit, Layer, Result } from "effect"
import type { CommandId } from "../../../src/domain/Ids.ts"
import type { Receipt } from "../../../src/domain/Receipt.ts"
import { Ledger } from "../../../src/Ledger.ts"
import { LedgerClient } from "../../../src/rpc/client/LedgerClient.ts"
import type { Answer, Journal, Named } from "./journal.ts"
import type { ServedNode } from "./servedNode.ts"

export interface Watch {
  readonly accounts: ReadonlyArray<string>
  /** From now on other nodes than this one are asked, and nothing that it was asked is waited for. */
  readonly avoid: (node: ServedNode) => void
  readonly trust: (node: ServedNode) => void
  /** The longest time from an instant of `performance.now()` to now in which the account was not served. */
  readonly longestGapMs: (account: string, from: number) => number
  /** The longest wait, since then, for a balance in which a receipt's write is; over all accounts. */
  readonly longestReadMs: (from: number) => number
  /** Ends when the journal is over. */
  readonly run: Effect.Effect<void>
}

interface Door {
  readonly node: ServedNode
  readonly ledger: Ledger["Service"]
  /** Done while the node is avoided. */
  avoided: Deferred.Deferred<void>
}

const openDoor = Effect.fnUntraced(function* (node: ServedNode, isAvoided: boolean) {
  const client = LedgerClient.layer({ urls: [node.rpcUrl] })
  const ledger = yield* Effect.provide(Ledger, yield* Effect.orDie(Layer.build(client)))
  const avoided = Deferred.makeUnsafe<void>()
  if (isAvoided) Deferred.doneUnsafe(avoided, Exit.void)
  return { node, ledger, avoided } satisfies Door as Door // `avoided` is renewed
})

/** `spare` does not run yet; the others do. */
export const makeWatch = Effect.fnUntraced(function* (
  nodes: ReadonlyArray<ServedNode>,
  spare: ServedNode,
  journal: Journal,
  accounts: ReadonlyArray<string>,
  pauseMs: number
) {
  const doors: Array<Door> = []
  for (const node of [...nodes, spare]) doors.push(yield* openDoor(node, node === spare))
  const doorOf = (node: ServedNode) => doors.filter((door) => door.node === node)
  const served = new Map(accounts.map((account) => [account, [performance.now()]]))
  const waits: Array<{ readonly at: number; readonly ms: number }> = []
  let turn = 0

  /** Asks the next door that is not avoided; undefined when it is avoided before it answers. */
  const ask = <A, E>(question: (ledger: Ledger["Service"]) => Effect.Effect<A, E>) =>
    Effect.suspend(() => {
      const open = doors.filter(({ avoided }) => !Deferred.isDoneUnsafe(avoided))
      const door = open[turn++ % open.length]
      if (door === undefined) return Effect.die(new Error("every node is avoided"))
      return Effect.raceFirst(
        Effect.result(question(door.ledger)),
        Effect.as(Deferred.await(door.avoided), undefined)
      )
    })

  /** What was acknowledged must be in every strong balance after it, and in any that is given its token. */
  const look = Effect.fnUntraced(function* (account: string, receipt: Receipt, isStrong: boolean) {
    const version = receipt.postings[0]?.version ?? 0
    const start = performance.now()
    const view = yield* ask((ledger) =>
      isStrong ? ledger.strongBalance(account) : ledger.balance(account, { readToken: receipt.readToken })
    )
    if (view === undefined || Result.isFailure(view)) return
    if (!isStrong) waits.push({ at: performance.now(), ms: performance.now() - start })
    if (view.success.version >= version) return
    const which = isStrong ? "the strong balance" : "the balance with a token"
    journal.stale.push(`${which} of ${account} was of version ${view.success.version}, after ${version}`)
  })

  const watchOne = Effect.fnUntraced(function* (account: string) {
    const id = (what: string) => `${account}-${what}` as CommandId // of the characters of an id
    let last: Receipt | undefined
    const send = (command: Named) =>
      journal.settle(command, (one) =>
        Effect.map(
          ask((ledger) => ledger.dispatch(one)),
          (answer): Answer => answer ?? Result.fail({ _tag: "Indeterminate" })
        )
      )
    const give = Effect.gen(function* () {
      for (let nth = 0; !journal.isOver; nth++) {
        const receipt = yield* send({ _tag: "Deposit", commandId: id(`${nth}`), account, amount: 1n })
        served.get(account)?.push(performance.now())
        last = receipt ?? last
        yield* Effect.sleep(pauseMs)
      }
    })
    // StoreBaseline the deposits: whoever waits for the read model must not keep them up.
    const read = Effect.gen(function* () {
      for (let nth = 0; !journal.isOver; nth++) {
        if (last !== undefined) yield* look(account, last, nth % 2 === 0)
        yield* Effect.sleep(2 * pauseMs)
      }
    })
    yield* send({ _tag: "OpenAccount", commandId: id("open"), account, asset: "USD/2", owner: "Ada" })
    yield* Effect.all([give, read], { concurrency: "unbounded", discard: true })
  })

  return {
    accounts,
    avoid: (node) => {
      for (const { avoided } of doorOf(node)) Deferred.doneUnsafe(avoided, Exit.void)
    },
    trust: (node) => {
      for (const door of doorOf(node)) door.avoided = Deferred.makeUnsafe()
    },
    longestGapMs: (account, from) => {
      const times = served.get(account) ?? []
      let longest = 0
      let last = from
      for (const time of [...times, performance.now()]) {
        if (time <= from) continue
        longest = Math.max(longest, time - last)
        last = time
      }
      return Math.round(longest)
    },
    longestReadMs: (from) =>
      Math.round(Math.max(0, ...waits.filter(({ at }) => at > from).map(({ ms }) => ms))),
    run: Effect.forEach(accounts, watchOne, { concurrency: "unbounded", discard: true })
  } satisfies Watch
})
