/** Why a database cannot be used or brought to the program's schema, in words for the person who started it. */
import { Data } from "effect"

/** Which tables: a folder of `migrations/`, or those of one more projection. All kinds may share one database. */
export type SchemaKind = "event-store" | "read-model" | `projection ${string}`

/** The database was brought to a schema that this program does not know: run a newer program. */
export class SchemaTooNew extends Data.TaggedError("SchemaTooNew")<{
  readonly kind: SchemaKind
  readonly found: number
  readonly known: number
}> {
  override get message() {
    return `the ${this.kind} database has schema ${this.found}, this program knows up to ${this.known}: start a newer version of it`
  }
}

/** The database lacks migrations of this program: run `chronicle migrate`. */
export class SchemaTooOld extends Data.TaggedError("SchemaTooOld")<{
  readonly kind: SchemaKind
  readonly missing: ReadonlyArray<number>
}> {
  override get message() {
    return `the ${this.kind} database lacks migrations ${this.missing.join(", ")}: run "chronicle migrate" first`
  }
}

/** A migration was changed after it had been applied. */
export class SchemaChanged extends Data.TaggedError("SchemaChanged")<{
  readonly kind: SchemaKind
  readonly id: number
  readonly name: string
}> {
  override get message() {
    return `migration ${this.id} (${this.name}) of the ${this.kind} database is not the one that was applied`
  }
}

/** A statement of a migration failed, the database could not be reached, or a file could not be read. */
export class MigrationFailed extends Data.TaggedError("MigrationFailed")<{
  readonly kind: SchemaKind
  readonly step: string
  readonly reason: string
}> {
  override get message() {
    return `the ${this.kind} database failed at ${this.step}: ${this.reason}`
  }
}

export type MigrationError = SchemaTooNew | SchemaTooOld | SchemaChanged | MigrationFailed
