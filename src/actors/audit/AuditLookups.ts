/**
 * Checks of a page of the log that need rows elsewhere in it: the counter-legs of transfers and journals (I2), and the event
 * that a command's id leads to (I4). Both are looked up in bulk.
 */
import { Effect, Result } from "effect"
import type { Event } from "../../domain/Event.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { decodeStored } from "../../domain/StoredEvent.ts"
import { counterLegsOf, faultOfLeg, type Key, type Reading } from "./AuditLegs.ts"
import { type Entry, keyOf, type Run, rememberAsset } from "./AuditRun.ts"

interface Leg extends Entry {
  readonly event: Event
}

export const checkLookups = (run: Run, entries: ReadonlyMap<string, Entry>) =>
  Effect.all([checkLegs(run, entries), checkCommands(run, entries)], { concurrency: 2, discard: true })

/** Every leg is checked against its counter-legs, so that no side can be changed alone. */
const checkLegs = Effect.fnUntraced(function* (run: Run, entries: ReadonlyMap<string, Entry>) {
  let legs: Array<Leg> = []
  let keys = 0
  for (const entry of entries.values()) {
    const { event, row } = entry
    if (event === undefined) continue
    if (event._tag === "AccountOpened") rememberAsset(run, row.accountId, event.asset)
    legs.push({ ...entry, event })
    keys += counterLegsOf(event).length
    if (keys < run.limits.lookUpKeys) continue
    yield* checkSome(run, entries, legs)
    legs = []
    keys = 0
  }
  yield* checkSome(run, entries, legs)
})

const checkSome = Effect.fnUntraced(function* (
  run: Run,
  entries: ReadonlyMap<string, Entry>,
  legs: ReadonlyArray<Leg>
) {
  const wanted = new Map<string, Key>()
  const assets = new Map<AccountId, Asset | undefined>()
  const want = (key: Key) => {
    if (!entries.has(keyOf(key))) wanted.set(keyOf(key), key)
  }
  for (const { row, event } of legs) {
    const counters = counterLegsOf(event)
    // A journal of one account has legs on contras alone beside it, whose sum is in its asset.
    if (counters.length === 0 && event._tag !== "JournalPosted") continue
    for (const account of [row.accountId, ...counters.map((key) => key.account)]) {
      assets.set(account, run.assets.get(account))
    }
    for (const key of counters) want(key)
  }
  for (const [account, asset] of assets) if (asset === undefined) want({ account, version: 1 })
  const read = new Map<string, Reading>()
  if (wanted.size > 0) {
    for (const row of yield* run.store.readEvents([...wanted.values()])) {
      const event = Result.getOrUndefined(decodeStored(row))
      read.set(keyOf({ account: row.accountId, version: row.version }), { row, event })
    }
  }
  const find = (key: Key): Reading | undefined => entries.get(keyOf(key)) ?? read.get(keyOf(key))
  for (const [account, asset] of assets) {
    if (asset !== undefined) continue
    const first = find({ account, version: 1 })?.event
    if (first?._tag !== "AccountOpened") continue
    assets.set(account, first.asset)
    rememberAsset(run, account, first.asset)
  }
  for (const leg of legs) {
    const fault = faultOfLeg(leg, find, (account) => assets.get(account))
    if (fault === undefined) continue
    const { accountId: account, version } = leg.row
    run.findings.add({ ...fault, where: "events", account, version })
  }
})

/** The id of a command must lead to its row of ordinal 0. */
const checkCommands = Effect.fnUntraced(function* (run: Run, entries: ReadonlyMap<string, Entry>) {
  const first = [...entries.values()].map((entry) => entry.row).filter((row) => row.ordinal === 0)
  for (let start = 0; start < first.length; start += run.limits.lookUpKeys) {
    const some = first.slice(start, start + run.limits.lookUpKeys)
    const found = new Map(
      (yield* run.store.findCommands(some.map((row) => row.commandId))).map((row) => [
        row.commandId,
        keyOf({ account: row.accountId, version: row.version })
      ])
    )
    for (const { accountId: account, version, commandId } of some) {
      const led = found.get(commandId)
      if (led === keyOf({ account, version })) continue
      const reason = `its command ${commandId} leads to ${led ?? "nothing"}`
      run.findings.add({ invariant: "I4", where: "events", account, version, reason })
    }
  }
})
