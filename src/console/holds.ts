/** The order of open holds. */
import type { Hold } from "./wire.ts"

/** By expiry; those that never expire last, in the order in which they were placed. */
export const byExpiry = (holds: ReadonlyArray<Hold>): ReadonlyArray<Hold> =>
  holds.toSorted(
    (a, b) => (a.expiresAt ?? Number.POSITIVE_INFINITY) - (b.expiresAt ?? Number.POSITIVE_INFINITY) || 0
  )
