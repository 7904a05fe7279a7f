/**
 * The clock of the node, as its answers tell it. It exists because how long until a hold expires, and whether it has, is not for the clock of
 * the browser's machine to say, which may be set wrong.
 */

/**
 * How far the node's clock is ahead of this one, in milliseconds, by what an answer says of when it was given (`date`, in whole seconds), which
 * was between two instants of this clock. What was found before stays where it agrees with that.
 */
export const clockAhead = (
  before: number,
  date: string | null,
  sentAt: number,
  receivedAt: number
): number => {
  const told = Date.parse(date ?? "")
  if (Number.isNaN(told)) return before
  const [least, most] = [told - receivedAt, told + 999 - sentAt]
  return least <= before && before <= most ? before : Math.round((least + most) / 2)
}

let aheadMs = 0

/** Takes what the head of an answer says. */
export const noteDate = (date: string | null, sentAt: number): void => {
  aheadMs = clockAhead(aheadMs, date, sentAt, Date.now())
}

/** Epoch milliseconds. */
export const nodeNow = (): number => Date.now() + aheadMs
