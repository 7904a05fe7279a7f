/** Instants on an axis of time as positions of a slider, from 0 to `steps`. */

/** Positions of the slider: finer than its pixels. */
export const steps = 1_000

/** The instant of a position between the ends; the last one is the end itself. */
export const instantAt = (from: number, to: number, position: number): number =>
  Math.round(from + ((to - from) * position) / steps)

export const positionOf = (from: number, to: number, at: number): number =>
  to <= from ? steps : Math.min(steps, Math.max(0, Math.round(((at - from) * steps) / (to - from))))
