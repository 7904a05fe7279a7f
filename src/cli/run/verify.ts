/** `chronicle verify`: checks the invariants on the stores, and prints the first rows that break them. */
import { Data, Effect, Option } from "effect"
import { Audit, type Finding } from "../../actors/audit/Audit.ts"
import { invariants } from "../../actors/audit/AuditFindings.ts"
import { AccountNotFound } from "../../domain/Errors.ts"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import { ReadModel } from "../../infra/readmodel/ReadModel.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { meanings } from "../DemoOutput.ts"
import { grouped, makeOutput, makeProgress, printJson } from "../Output.ts"
import type { VerifyFlags } from "../verify.ts"
import { resolveStores } from "./services.ts"

/** Findings that are printed; `--json` has more. */
const findingsShown = 20

/** A row breaks an invariant. */
class BooksBroken extends Data.TaggedError("BooksBroken")<{ readonly findings: number }> {
  override get message() {
    return this.findings === 1 ? "one row breaks an invariant" : `${this.findings} rows break an invariant`
  }
}

export const verify = Effect.fnUntraced(function* ({ account, data, json }: VerifyFlags) {
  const output = makeOutput(json)
  const stores = yield* resolveStores(data)
  const progress = yield* makeProgress
  const { report, skipped } = yield* Effect.gen(function* () {
    const audit = yield* Audit
    const readModel = yield* ReadModel
    const found = yield* audit.verify({
      ...(Option.isSome(account) ? { account: account.value } : {}),
      onProgress: ({ accounts, events }) =>
        progress.showUnsafe(`checked ${grouped(events)} events of ${grouped(accounts)} accounts`)
    })
    const left = yield* readModel.skipped
    const asked = left.filter((row) => Option.isNone(account) || row.account === account.value)
    return { report: found, skipped: asked }
  }).pipe(Effect.provide(Audit.layer), Effect.provide(LedgerNode.layerReader(stores)))
  yield* progress.clear
  if (Option.isSome(account) && report.events === 0 && report.ok)
    return yield* new AccountNotFound({ account: account.value })
  yield* output.line(
    `${grouped(report.events)} events of ${grouped(report.accounts)} accounts, ${grouped(report.commits)} commits, ` +
      `${grouped(report.snapshots)} snapshots, and the read model:`
  )
  for (const invariant of invariants) {
    yield* output.line(`  ${report.invariants[invariant] ? "✓" : "✗"} ${invariant} ${meanings[invariant]}`)
  }
  for (const finding of report.findings.slice(0, findingsShown)) yield* output.line(`  ${describe(finding)}`)
  if (report.behind > 0)
    yield* output.line(`  ${grouped(report.behind)} accounts are not projected to their end yet.`)
  for (const { account: id, version, reason } of report.parked) {
    yield* output.line(`  parked: ${id} at version ${version}: ${reason}`)
  }
  for (const { account: id, version, reason } of skipped) {
    yield* output.line(`  left out by "parked skip": ${id} at version ${version}: ${reason}`)
  }
  if (json) yield* printJson({ ...report, skipped })
  if (!report.ok) return yield* new BooksBroken({ findings: report.findingsTotal })
}, Effect.provide(limitsFromEnvironment))

const describe = ({ invariant, where, account, version, reason }: Finding): string => {
  const place = account === undefined ? "" : ` ${account}${version === undefined ? "" : `@${version}`}`
  return `${invariant} ${where}${place}: ${reason}`
}
