/** What the ledger promises (design §2), and which of it an audit of the stores can check. */

/** What each invariant promises, in a line. */
export const meanings = {
  I1: "dense: versions without a gap, every commit complete",
  I2: "conserved: every transaction sums to zero, and so do the books",
  I3: "covered: no balance below its overdraft limit, after any event",
  I4: "once: each acknowledged command is in the log exactly once",
  I5: "chained: every hash covers its event and the one before",
  I6: "durable: every receipt's event is in the log, with its hash",
  I7: "in order: on every account as acknowledged",
  I8: "derived: the read model equals the fold of the log"
} as const

/** Those that the stores alone can show. */
export const auditedInvariants = ["I1", "I2", "I3", "I4", "I5", "I8"] as const
export type AuditedInvariant = (typeof auditedInvariants)[number]
