/** Plots as inline SVG, so that a report is one file that needs no script and no network. */

interface Series {
  readonly name: string
  /** A CSS class of the page, which gives it its colour. */
  readonly style: string
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
}

interface Axis {
  readonly label: string
  readonly from: number
  readonly to: number
  readonly ticks: ReadonlyArray<readonly [at: number, text: string]>
  readonly isLog?: boolean
}

const width = 860
const height = 300
const left = 76
const right = 16
const top = 12
const bottom = 44

export const escapeHtml = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")

/** Where a value stands between the ends of an axis, 0 … 1. */
const share = (axis: Axis, value: number): number => {
  const f = (x: number) => (axis.isLog ? Math.log10(x) : x)
  const span = f(axis.to) - f(axis.from)
  return span === 0 ? 0 : Math.min(1, Math.max(0, (f(value) - f(axis.from)) / span))
}

export const plot = (x: Axis, y: Axis, series: ReadonlyArray<Series>): string => {
  const toX = (value: number) => (left + share(x, value) * (width - left - right)).toFixed(1)
  const toY = (value: number) => (height - bottom - share(y, value) * (height - top - bottom)).toFixed(1)
  const grid = [
    ...x.ticks.map(
      ([at, text]) =>
        `<line class="grid" x1="${toX(at)}" x2="${toX(at)}" y1="${top}" y2="${height - bottom}"/>` +
        `<text x="${toX(at)}" y="${height - bottom + 18}" text-anchor="middle">${escapeHtml(text)}</text>`
    ),
    ...y.ticks.map(
      ([at, text]) =>
        `<line class="grid" x1="${left}" x2="${width - right}" y1="${toY(at)}" y2="${toY(at)}"/>` +
        `<text x="${left - 8}" y="${Number(toY(at)) + 4}" text-anchor="end">${escapeHtml(text)}</text>`
    )
  ]
  const lines = series.map(({ name, style, points }) => {
    const path = points.map(([px, py]) => `${toX(px)},${toY(py)}`).join(" ")
    return `<polyline class="series ${style}" points="${path}"><title>${escapeHtml(name)}</title></polyline>`
  })
  const labels =
    `<text class="label" x="${(left + width - right) / 2}" y="${height - 6}" text-anchor="middle">${escapeHtml(x.label)}</text>` +
    `<text class="label" transform="translate(14 ${(height - bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(y.label)}</text>`
  return `<svg viewBox="0 0 ${width} ${height}" role="img">${grid.join("")}${labels}${lines.join("")}</svg>`
}

const grouped = (value: number): string => value.toLocaleString("en-US", { maximumFractionDigits: 3 })

/** From zero to a little above the largest value, with ticks at round numbers. */
export const linearAxis = (label: string, largest: number): Axis => {
  const rough = Math.max(largest, 1e-9) / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough) ?? rough
  const count = Math.ceil(largest / step) || 1
  const ticks = Array.from(
    { length: count + 1 },
    (_, index) => [index * step, grouped(index * step)] as const
  )
  return { label, from: 0, to: count * step, ticks }
}

/** Whole decades around the values, which are above zero. */
export const logAxis = (label: string, least: number, largest: number): Axis => {
  const from = Math.floor(Math.log10(least))
  const to = Math.max(from + 1, Math.ceil(Math.log10(largest)))
  const ticks = Array.from({ length: to - from + 1 }, (_, index) => {
    const at = 10 ** (from + index)
    return [at, grouped(at)] as const
  })
  return { label, from: 10 ** from, to: 10 ** to, ticks, isLog: true }
}
