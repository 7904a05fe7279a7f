/** The libraries of the embedded PostgreSQL are linked also where npm ran no install script. */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, Path } from "effect"
import { linkLibraries } from "../../src/infra/dev/PostgresLinks.ts"

it.effect("makes the links that the package lists, once, and fails where it cannot", () =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const { join } = yield* Path.Path
    const root = yield* fs.makeTempDirectoryScoped()
    const native = join(root, "native")
    yield* fs.makeDirectory(join(native, "lib"), { recursive: true })
    yield* linkLibraries(native) // a package of a platform that needs none has no list
    yield* fs.writeFileString(join(native, "lib", "libpq.so.5.18"), "elf")
    const links = ["libpq.so", "libpq.so.5"].map((name) => ({
      source: "native/lib/libpq.so.5.18",
      target: `native/lib/${name}`
    }))
    yield* fs.writeFileString(join(native, "pg-symlinks.json"), JSON.stringify(links))
    yield* Effect.all([linkLibraries(native), linkLibraries(native)], { concurrency: 2 })
    yield* linkLibraries(native)
    for (const name of ["libpq.so", "libpq.so.5"]) {
      assert.strictEqual(yield* fs.readLink(join(native, "lib", name)), "libpq.so.5.18")
      assert.strictEqual(yield* fs.readFileString(join(native, "lib", name)), "elf")
    }
    const elsewhere = [{ source: "native/lib/libpq.so.5.18", target: "native/none/libpq.so" }]
    yield* fs.writeFileString(join(native, "pg-symlinks.json"), JSON.stringify(elsewhere))
    const fault = yield* Effect.flip(linkLibraries(native))
    assert.include(fault.message, "symlink")
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
