/** A plot of steps over time. It shows the course of things; what is exact stands in the tables beside it. */
import { useEffect, useRef } from "preact/hooks"
import uPlot from "uplot"
import { count } from "./format.ts"
import { shortNumber, tickLabels } from "./ticks.ts"

interface Series {
  /** Epoch milliseconds, rising. */
  readonly x: ReadonlyArray<number>
  readonly y: ReadonlyArray<number>
}

const colour = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim()

const axisOf = (): uPlot.Axis => ({
  stroke: colour("--muted"),
  grid: { stroke: colour("--line"), width: 1 },
  ticks: { stroke: colour("--line"), width: 1, size: 4 },
  font: "12px system-ui, sans-serif"
})

const optionsOf = (width: number, marks: ReadonlyArray<number>, isStepped: boolean): uPlot.Options => ({
  width,
  height: 200,
  ms: 1,
  tzDate: (ms) => uPlot.tzDate(new Date(ms), "Etc/UTC"),
  legend: { show: false },
  cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
  scales: {
    y: {
      range: (_, low, high) =>
        uPlot.rangeNum(Math.min(low, 0), Math.max(high, low === high ? 1 : 0), 0.1, true)
    }
  },
  axes: [
    { ...axisOf(), space: 90, values: (_, splits, __, ___, every) => [...tickLabels(splits, every)] },
    { ...axisOf(), size: 64, values: (_, splits) => splits.map(shortNumber) }
  ],
  series: [
    {},
    {
      stroke: colour("--accent"),
      width: 1.75,
      fill: colour("--accent-wash"),
      points: { show: false },
      ...(isStepped && uPlot.paths.stepped !== undefined ? { paths: uPlot.paths.stepped({ align: 1 }) } : {})
    }
  ],
  hooks: {
    draw: [
      (plot) => {
        // Where the past that is shown ends.
        for (const mark of marks) {
          const x = Math.round(plot.valToPos(mark, "x", true))
          plot.ctx.strokeStyle = colour("--mark")
          plot.ctx.lineWidth = 2
          plot.ctx.beginPath()
          plot.ctx.moveTo(x, plot.bbox.top)
          plot.ctx.lineTo(x, plot.bbox.top + plot.bbox.height)
          plot.ctx.stroke()
        }
      }
    ]
  }
})

export const Plot = ({
  series: { x, y },
  label,
  marks = [],
  isStepped = true,
  onHover
}: {
  readonly series: Series
  /** Says what is seen, to those who do not see it. */
  readonly label: string
  readonly marks?: ReadonlyArray<number>
  readonly isStepped?: boolean
  /** The point under the pointer; undefined where there is none. */
  readonly onHover?: (index: number | undefined) => void
}) => {
  const box = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const element = box.current
    if (element === null) return undefined
    let plot: uPlot | undefined
    const draw = () => {
      plot?.destroy()
      const options = optionsOf(element.clientWidth, marks, isStepped)
      const hover = { setCursor: [(of: uPlot) => onHover?.(of.cursor.idx ?? undefined)] }
      plot = new uPlot({ ...options, hooks: { ...options.hooks, ...hover } }, [[...x], [...y]], element)
    }
    const scheme = matchMedia("(prefers-color-scheme: dark)")
    const sizes = new ResizeObserver(() => {
      if (plot !== undefined && plot.width !== element.clientWidth)
        plot.setSize({ width: element.clientWidth, height: plot.height })
    })
    draw()
    scheme.addEventListener("change", draw)
    sizes.observe(element)
    return () => {
      scheme.removeEventListener("change", draw)
      sizes.disconnect()
      plot?.destroy()
    }
  }, [x, y, isStepped, marks.join()])
  return <div ref={box} class="plot" role="img" aria-label={`${label}: ${count(x.length)} points`} />
}
