/**
 * `chronicle rebuild`: builds a projection anew from the log beside the live one, with progress, and exchanges them.
 */
import { pathToFileURL } from "node:url"
import { Data, Effect, Option, Predicate } from "effect"
import { rebuild as rebuildProjection } from "../../actors/projections/Rebuild.ts"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import * as Migrations from "../../infra/postgres/Migrations.ts"
import { books } from "../../infra/readmodel/BooksProjection.ts"
import { isProjection, prefixOf, projectionFault } from "../../infra/readmodel/Projection.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { grouped, makeOutput, makeProgress, printJson } from "../Output.ts"
import type { RebuildFlags } from "../rebuild.ts"
import { resolveStores } from "./services.ts"

/** There is no such projection, or the module has none. */
class ProjectionUnknown extends Data.TaggedError("ProjectionUnknown")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** The default export of a file of the host. */
const load = Effect.fnUntraced(function* (file: string) {
  const loaded: unknown = yield* Effect.tryPromise({
    try: () => import(pathToFileURL(file).href),
    catch: (cause) => new ProjectionUnknown({ reason: `${file} cannot be loaded: ${String(cause)}` })
  })
  const found = Predicate.hasProperty(loaded, "default") ? loaded.default : undefined
  if (isProjection(found)) return found
  const reason = `the default export of ${file} is no projection: ${projectionFault(found)}`
  return yield* new ProjectionUnknown({ reason })
})

const named = Effect.fnUntraced(function* (name: string, module: Option.Option<string>) {
  const found = Option.isSome(module) ? yield* load(module.value) : books
  if (found.name === name || prefixOf(found) === name) return found
  const reason = `there is no projection "${name}"${Option.isNone(module) ? ": books is, and those of --module" : " in that module"}`
  return yield* new ProjectionUnknown({ reason })
})

const minutes = (seconds: number): string =>
  seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`

export const rebuild = Effect.fnUntraced(
  function* ({ projection, module, data, json }: RebuildFlags) {
    const output = makeOutput(json)
    const found = yield* named(projection, module)
    const stores = yield* resolveStores(data)
    const progress = yield* makeProgress
    if (found.migrations !== undefined) {
      yield* Migrations.migrate(`projection ${found.name}`, stores.readModelUrl, found.migrations)
    }
    const report = yield* rebuildProjection(found, {
      onStep: ({ phase, events, total, perSecond }) => {
        const left =
          total > events && perSecond > 0 ? `, about ${minutes((total - events) / perSecond)} left` : ""
        const of = total > 0 ? ` of about ${grouped(Math.max(total, events))}` : ""
        progress.showUnsafe(`${phase}: ${grouped(events)}${of} events, ${grouped(perSecond)}/s${left}`)
      }
    }).pipe(Effect.provide(LedgerNode.layerReader(stores)))
    yield* progress.clear
    yield* output.line(
      `${report.projection} is new: ${grouped(report.events)} events in ${report.seconds} s` +
        `${report.resumed ? " (resumed)" : ""}${report.parked > 0 ? `; ${report.parked} accounts are parked` : ""}.`
    )
    if (json) yield* printJson(report)
  },
  Effect.scoped,
  Effect.provide(limitsFromEnvironment)
)
