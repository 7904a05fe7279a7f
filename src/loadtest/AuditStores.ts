/** The stores after a load enter; what the audit of all of them says, in the words of a report, leaves. */
import { Effect } from "effect"
import { Audit, type Finding } from "../actors/audit/Audit.ts"
import type { Audited } from "./Outcome.ts"

const findingsMax = 20

export const auditStores = (onProgress: (events: number) => void) =>
  Effect.gen(function* () {
    const audit = yield* Audit
    const report = yield* audit.verify({ onProgress: ({ events }) => onProgress(events) })
    const { I1, I2, I3, I4, I5, I8 } = report.invariants
    return {
      // An account that was given up on is no fault of its rows, but it is one of the projection's.
      invariants: { I1, I2, I3, I4, I5, I8: I8 && report.parked.length === 0 },
      findings: [
        ...report.findings.slice(0, findingsMax).map(printFinding),
        ...report.parked.map(({ account, reason }) => `I8: ${account} is parked: ${reason}`)
      ]
    } satisfies Audited
  }).pipe(Effect.provide(Audit.layer))

const printFinding = ({ invariant, where, account, version, reason }: Finding): string => {
  const place = account === undefined ? "" : ` ${account}${version === undefined ? "" : `@${version}`}`
  return `${invariant}: ${where}${place}: ${reason}`
}
