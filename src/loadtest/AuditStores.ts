/** Runs the ledger's own audit over the stores after a load, so that a load test fails where `chronicle verify` would. */
import { Effect } from "effect"
import { Audit, type Finding } from "../actors/audit/Audit.ts"
import type { AuditResult } from "./Outcome.ts"

const findingsMax = 20

export const auditStores = (onProgress: (events: number) => void) =>
  Effect.gen(function* () {
    const audit = yield* Audit
    const report = yield* audit.verify({ onProgress: ({ events }) => onProgress(events) })
    const { I1, I2, I3, I4, I5, I8 } = report.invariants
    return {
      // A parked account has no wrong row, yet its read model is not the fold of the whole stream.
      invariants: { I1, I2, I3, I4, I5, I8: I8 && report.parked.length === 0 },
      findings: [
        ...report.findings.slice(0, findingsMax).map(describeFinding),
        ...report.parked.map(({ account, reason }) => `I8: ${account} is parked: ${reason}`)
      ]
    } satisfies AuditResult
  }).pipe(Effect.provide(Audit.layer))

const describeFinding = ({ invariant, where, account, version, reason }: Finding): string => {
  const place = account === undefined ? "" : ` ${account}${version === undefined ? "" : `@${version}`}`
  return `${invariant}: ${where}${place}: ${reason}`
}
