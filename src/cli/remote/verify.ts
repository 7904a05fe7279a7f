/** `chronicle verify`: has a node or the stores check the invariants, and prints the first rows that break them. */
import { Data, Effect, Option } from "effect"
import { auditedInvariants, meanings } from "../../domain/Invariants.ts"
import type { QueryMethods } from "../../QueryMethods.ts"
import { grouped, makeOutput, printJson } from "../Output.ts"
import type { VerifyFlags } from "../verify.ts"
import { asking } from "./ask.ts"

/** How long a node may take for its log, in milliseconds: a day. Its silence is noticed at once, by the client's pings. */
const auditMs = 86_400_000

/** Findings that are printed; `--json` has more. */
const findingsShown = 20

type AuditReport = Effect.Success<ReturnType<QueryMethods["verify"]>>

/** A row breaks an invariant. */
class BooksBroken extends Data.TaggedError("BooksBroken")<{ readonly findings: number }> {
  override get message() {
    return this.findings === 1 ? "one row breaks an invariant" : `${this.findings} rows break an invariant`
  }
}

export const verify = Effect.fnUntraced(function* ({ account, data, json }: VerifyFlags) {
  const output = makeOutput(json)
  const report = yield* asking(data, (books) => books.verify({ account: Option.getOrUndefined(account) }), {
    limits: { queryDeadlineMs: auditMs },
    scope: "audit"
  })
  yield* output.line(
    `${grouped(report.events)} events of ${grouped(report.accounts)} accounts, ${grouped(report.commits)} commits, ` +
      `${grouped(report.snapshots)} snapshots, and the read model:`
  )
  for (const invariant of auditedInvariants) {
    yield* output.line(`  ${report.invariants[invariant] ? "✓" : "✗"} ${invariant} ${meanings[invariant]}`)
  }
  for (const finding of report.findings.slice(0, findingsShown)) yield* output.line(`  ${describe(finding)}`)
  if (report.behind > 0)
    yield* output.line(`  ${grouped(report.behind)} accounts are not projected to their end yet.`)
  for (const { account: id, version, reason } of report.parked) {
    yield* output.line(`  parked: ${id} at version ${version}: ${reason}`)
  }
  for (const { account: id, version, reason } of report.skipped) {
    yield* output.line(`  left out by "parked skip": ${id} at version ${version}: ${reason}`)
  }
  if (json) yield* printJson(report)
  if (!report.ok) return yield* new BooksBroken({ findings: report.findingsTotal })
})

const describe = ({
  invariant,
  where,
  account,
  version,
  reason
}: AuditReport["findings"][number]): string => {
  const place = account === undefined ? "" : ` ${account}${version === undefined ? "" : `@${version}`}`
  return `${invariant} ${where}${place}: ${reason}`
}
