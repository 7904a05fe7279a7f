/** Directories are made at whatever path a user gives, or it is said why not. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { makeDirectories } from "../../src/infra/dev/Directories.ts"

layer(NodeServices.layer)("directories", (it) => {
  const fresh = FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped({ prefix: "chronicle-dirs-" }))
  const reasonOf = (path: string) =>
    Effect.map(Effect.flip(makeDirectories(path)), ({ reason }) => reason._tag)

  it.effect("are made with all above them that lack, and left as they are where they are there", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const parent = yield* fresh
      for (const _ of ["made", "found"]) {
        yield* makeDirectories(`${parent}/a/b`, 0o711)
        for (const path of ["a", "a/b"])
          assert.strictEqual((yield* fs.stat(`${parent}/${path}`)).mode & 0o777, 0o711)
        yield* fs.writeFileString(`${parent}/a/b/kept`, "")
      }
      yield* fs.symlink(`${parent}/a`, `${parent}/link`)
      yield* makeDirectories(`${parent}/link/c`)
      assert.deepStrictEqual((yield* fs.readDirectory(`${parent}/a`)).toSorted(), ["b", "c"])
    }).pipe(Effect.scoped)
  )

  it.effect("are made by two at once", () =>
    Effect.gen(function* () {
      const path = `${yield* fresh}/a/b/c`
      yield* Effect.all([makeDirectories(path), makeDirectories(path)], { concurrency: 2 })
      assert.isTrue(yield* FileSystem.FileSystem.use((fs) => fs.exists(path)))
    }).pipe(Effect.scoped)
  )

  it.effect("are not made below a file, behind a link to nothing, or where the system has none", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const parent = yield* fresh
      yield* fs.writeFileString(`${parent}/file`, "")
      yield* fs.symlink(`${parent}/nowhere`, `${parent}/link`)
      for (const path of ["file", "file/a", "link", "link/a"])
        assert.strictEqual(yield* reasonOf(`${parent}/${path}`), "AlreadyExists", path)
      if (process.platform === "linux")
        for (const path of ["/proc/x", "/proc/x/y"])
          assert.strictEqual(yield* reasonOf(path), "NotFound", path)
    }).pipe(Effect.scoped)
  )
})
