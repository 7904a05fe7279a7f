/** The whole log enters slice by slice, as much as memory is allowed for; each slice is walked and set against the commits. */
import { Effect } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { EventKey } from "../../infra/eventstore/EventStoreTypes.ts"
import { dropListed, Listing, listCommits, type TailPart } from "./AuditCommits.ts"
import { keyMax } from "./AuditCursor.ts"
import type { Run } from "./AuditRun.ts"
import { makeWalk, type Slice } from "./AuditWalk.ts"

/** How far an audit is; a walk in order of account. */
export interface AuditProgress {
  readonly accounts: number
  readonly events: number
  readonly account: string
}

/** Before every row of an account, also of one that a tamperer numbered below 1. */
export const startOf = (account: string): EventKey => ({ account, version: Number.MIN_SAFE_INTEGER })

/** Slice by slice: the versions that commits list are held in memory, then met by the rows of those accounts. */
export const walkAll = Effect.fnUntraced(function* (
  run: Run,
  parts: ReadonlyArray<TailPart>,
  account: AccountId | undefined,
  onProgress: ((progress: AuditProgress) => void) | undefined
) {
  const walk = makeWalk(run)
  let from = account ?? ""
  for (let isFirst = true; ; isFirst = false) {
    const listing = new Listing(from, account)
    const commits = yield* listCommits(parts, listing, run.limits, run.findings, isFirst)
    if (isFirst) run.tally.commits = commits
    const slice: Slice = { listing, late: new Map() }
    let after = startOf(from)
    let rows = yield* run.store.scan({ after, limit: run.limits.pageRows })
    for (;;) {
      const own = rows.filter((row) => listing.upTo === undefined || row.accountId <= listing.upTo)
      const last = own.at(-1)
      const isLast = own.length < run.limits.pageRows || last === undefined
      const end = isLast
        ? { account: listing.upTo ?? keyMax.account, version: keyMax.version }
        : { account: last.accountId, version: last.version }
      after = end
      const next = isLast ? Effect.succeed([]) : run.store.scan({ after, limit: run.limits.pageRows })
      const page = yield* Effect.all([next, walk.checkPage(own, end, slice)], { concurrency: 2 })
      onProgress?.({ accounts: run.tally.accounts, events: run.tally.events, account: end.account })
      if (isLast || slice.late.size > run.limits.sliceAccounts) yield* reportUnlisted(run, parts, slice)
      if (isLast) break
      rows = page[0]
    }
    reportMissing(run, listing)
    if (listing.upTo === undefined || account !== undefined) return
    // The least text above it.
    from = `${listing.upTo}\u0001`
  }
})

/** Rows that were listed and not met. */
const reportMissing = ({ findings }: Run, listing: Listing): void => {
  for (const [account, versions] of listing.accounts) {
    if (versions.isEmpty) continue
    const { least: version, count } = versions.summary()
    const more = count > 1 ? `, as are ${count - 1} later ones` : ""
    const reason = `it was committed, and is missing${more}`
    findings.add({ invariant: "I1", where: "events", account, version, reason })
  }
}

/** Rows that were met and not listed, not even by what was committed since. */
const reportUnlisted = Effect.fnUntraced(function* (
  run: Run,
  parts: ReadonlyArray<TailPart>,
  { late }: Slice
) {
  if (late.size === 0) return
  const noted = new Map(parts.map((part) => [part.writerId, part.upTo]))
  const since = (yield* run.store.listWriters).map(({ writerId, lastSeq }) => ({
    writerId,
    after: noted.get(writerId) ?? 0,
    upTo: lastSeq
  }))
  yield* dropListed(since, late, run.limits.pageCommits)
  for (const [account, versions] of late) {
    const { least: version, count } = versions.summary()
    const more = count > 1 ? `, nor ${count - 1} later ones` : ""
    const reason = `no commit of a known writer lists it${more}`
    run.findings.add({ invariant: "I4", where: "events", account, version, reason })
  }
  late.clear()
})
