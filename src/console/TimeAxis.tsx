/**
 * A slider over an axis of time. There is one, over the recorded axis; a second, over the effective one, has its place beside it. While it is
 * dragged it tells the instant, and once it rests it moves the URL.
 */
import { useEffect, useState } from "preact/hooks"
import { instant } from "./format.ts"
import { instantAt, positionOf, steps } from "./positions.ts"

export const TimeAxis = ({
  label,
  from,
  to,
  at,
  onRest
}: {
  readonly label: string
  readonly from: number
  readonly to: number
  /** Undefined: now, the end of the axis. */
  readonly at: number | undefined
  /** Undefined where the slider rests at the end. */
  readonly onRest: (at: number | undefined) => void
}) => {
  const given = at === undefined ? steps : positionOf(from, to, at)
  const [position, setPosition] = useState(given)
  useEffect(() => setPosition(given), [given])
  // At rest it tells the instant of the URL, which may lie between two positions, or after the last event.
  const shown = position === given ? at : position >= steps ? undefined : instantAt(from, to, position)
  const text = shown === undefined ? "now" : instant(shown)
  return (
    <div class="axis">
      <label>
        <span class="axis-label">{label}</span>
        <input
          type="range"
          min={0}
          max={steps}
          value={position}
          aria-valuetext={text}
          onInput={(event) => setPosition(event.currentTarget.valueAsNumber)}
          onChange={(event) => {
            const rest = event.currentTarget.valueAsNumber
            onRest(rest >= steps ? undefined : instantAt(from, to, rest))
          }}
        />
      </label>
      <output class="axis-text">{text}</output>
      {at !== undefined && (
        <button type="button" class="quiet" onClick={() => onRest(undefined)}>
          Back to now
        </button>
      )}
    </div>
  )
}
