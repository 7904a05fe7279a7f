/** The URL of a server enters; fresh read-model databases, streams and whole read sides for tests leave. */
import { Effect, Redacted } from "effect"
import * as Migrations from "../../src/infra/Migrations.ts"
import { freshDatabase } from "./databases.ts"

/** The URL of a read-model database at the current schema. */
export const freshReadModel = (url: string) =>
  Effect.tap(freshDatabase(url), (fresh) => Migrations.migrate("read-model", Redacted.make(fresh)))
