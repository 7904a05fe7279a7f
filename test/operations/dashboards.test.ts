/** The dashboard and the alert rules name only metrics and labels that a node serves, and the operations page has all of them. */
import { readFileSync } from "node:fs"
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { parse } from "yaml"
import { ReadSideHealth } from "../../src/actors/projections/ReadSideHealth.ts"
import { readSideReadings } from "../../src/http/Readings.ts"
import { Ledger } from "../../src/Ledger.ts"
import { openHttpLayer } from "../support/httpWorld.ts"
import { open } from "../support/ledgerWorld.ts"
import { ownPort } from "../support/ports.ts"
import { memoryLedger } from "../support/rpcWorld.ts"

class Port extends Context.Service<Port, number>()("chronicle/test/Port") {}

/** The HTTP server of a node, as `serve` starts it. */
const server = Layer.unwrap(
  Effect.map(ownPort, (port) => openHttpLayer(port).pipe(Layer.provideMerge(Layer.succeed(Port, port))))
).pipe(Layer.provideMerge(memoryLedger))

/** Each metric that is served, with the names of its labels; Prometheus adds `instance` by itself. */
const served = Effect.gen(function* () {
  yield* (yield* Ledger).dispatch({ ...open("charted"), commandId: "open-charted" })
  const port = yield* Port
  const text = yield* Effect.promise(() =>
    fetch(`http://127.0.0.1:${port}/metrics`).then((response) => response.text())
  )
  const labels = new Map<string, Set<string>>()
  for (const line of text.split("\n").filter((one) => one !== "" && !one.startsWith("#"))) {
    const [, name = "", inner = ""] = /^(\w+)(?:\{(.*)\})? /.exec(line) ?? []
    const known = labels.get(name) ?? new Set(["instance"])
    for (const [, label = ""] of inner.matchAll(/(\w+)="/g)) known.add(label)
    labels.set(name, known)
  }
  // A ledger in memory has no thread of the read side.
  const thread = {
    state: "up",
    silentMs: 0,
    restarts: 0,
    lastEnd: undefined,
    heapBytes: 0,
    cpuSeconds: 0
  } as const
  for (const { name } of readSideReadings({ ...(yield* (yield* ReadSideHealth).report), thread }))
    if (!labels.has(name)) labels.set(name, new Set(["instance"]))
  return labels
})

interface Expression {
  readonly where: string
  readonly expr: string
}

const rules = (): ReadonlyArray<Expression> => {
  const file: {
    readonly groups: ReadonlyArray<{
      readonly rules: ReadonlyArray<{ readonly alert: string; readonly expr: string }>
    }>
  } = parse(readFileSync("deploy/prometheus-alerts.yml", "utf8"))
  return file.groups.flatMap(({ rules: all }) => all.map(({ alert, expr }) => ({ where: alert, expr })))
}

const panels = (): ReadonlyArray<Expression> => {
  const file: {
    readonly panels: ReadonlyArray<{
      readonly title: string
      readonly targets: ReadonlyArray<{ readonly expr: string }>
    }>
  } = JSON.parse(readFileSync("deploy/grafana-dashboard.json", "utf8"))
  return file.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ where: title, expr })))
}

layer(server, { excludeTestServices: true })("what operators are shown", (it) => {
  it.effect("names metrics that a node serves, by labels that they have", () =>
    Effect.gen(function* () {
      const labels = yield* served
      const expressions = [...rules(), ...panels()]
      assert.isAtLeast(expressions.length, 30)
      for (const { where, expr } of expressions) {
        const names = [...expr.matchAll(/\b(?:chronicle|process)_\w+/g)].map(([name]) => name)
        assert.isNotEmpty(names, where)
        // Every program that Prometheus scrapes has metrics of its process under the same names.
        if (names.some((name) => name.startsWith("process_")))
          assert.match(expr, / and on \(instance\) chronicle_\w+/, where)
        const used = [
          ...[...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = ""]) => list.split(/,\s*/)),
          ...[...expr.matchAll(/(\w+)\s*=~?\s*"/g)].map(([, label = ""]) => label)
        ]
        for (const name of names) {
          const known = labels.get(name)
          assert.isDefined(known, `${where}: no node serves ${name}`)
          for (const label of used)
            assert.isTrue(known?.has(label), `${where}: ${name} has no label ${label}`)
        }
      }
    })
  )

  it.effect("has a word on the operations page for each metric that a node serves, and for no other", () =>
    Effect.gen(function* () {
      const page = readFileSync("docs/operations.md", "utf8")
      // A name that ends with `…` stands for several.
      const named = new Set([...page.matchAll(/\b(?:chronicle|process)_\w+(?![\w…])/g)].map(([name]) => name))
      const names = new Set(
        [...(yield* served).keys()]
          .filter((name) => /^(?:chronicle|process)_/.test(name))
          .map((name) => name.replace(/(?<=_rows|_seconds)_(?:bucket|count|sum)$/, "")) // of a histogram
      )
      assert.deepEqual(
        [...names].filter((name) => !named.has(name)),
        [],
        "not named"
      )
      assert.deepEqual(
        [...named].filter((name) => !names.has(name)),
        [],
        "served by no node"
      )
    })
  )
})
