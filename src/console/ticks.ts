/** The labels of an axis of time: as much of the instant as tells one tick from the next, and the day where it changes. In UTC. */

const [second, minute, day] = [1_000, 60_000, 86_400_000]

/** Epoch milliseconds that are `every` milliseconds apart. */
export const tickLabels = (instants: ReadonlyArray<number>, every: number): ReadonlyArray<string> =>
  instants.map((at, index) => {
    const iso = new Date(at).toISOString()
    const date = iso.slice(0, 10)
    if (every >= day) return date
    const time = every >= minute ? iso.slice(11, 16) : every >= second ? iso.slice(11, 19) : iso.slice(17, 23)
    const before = instants[index - 1]
    // Below a second the minute is told as well, which the time itself leaves out.
    const whole = every >= second ? date : `${date} ${iso.slice(11, 16)}`
    const isNew = before === undefined || new Date(before).toISOString().slice(0, 10) !== date
    return isNew ? `${time}\n${whole}` : time
  })

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 })

/** Few digits, for an axis has little room: `1.5K`, and beyond trillions `2e18`. The tables have the rest. */
export const shortNumber = (value: number): string =>
  Math.abs(value) < 1e15 ? compact.format(value) : value.toExponential(2).replace(/\.?0*e\+/, "e")
