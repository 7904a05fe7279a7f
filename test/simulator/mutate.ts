/** Puts each known fault back into a copy of the sources, and lets the simulator look for it there. */
import { spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Mutation, mutated, mutations, replacementsOf } from "./mutations.ts"
import type { Theme } from "./Plan.ts"

const root = join(import.meta.dirname, "..", "..")

/** A copy of what the simulator runs on, with the same dependencies. */
const copySources = (): string => {
  const copy = mkdtempSync(join(tmpdir(), "chronicle-mutant-"))
  for (const folder of ["src", "test/simulator", "test/support"]) {
    cpSync(join(root, folder), join(copy, folder), { recursive: true })
  }
  cpSync(join(root, "package.json"), join(copy, "package.json"))
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"))
  return copy
}

/** The first line of what the simulator says of a mutant, where it finds the fault. */
const hunt = (copy: string, seeds: number, theme: Theme | undefined): string | undefined => {
  const main = join(copy, "test", "simulator", "main.ts")
  const options = ["--find", "--seeds", String(seeds), ...(theme === undefined ? [] : ["--theme", theme])]
  const { stdout, stderr, status } = spawnSync(process.execPath, [main, ...options], {
    cwd: copy,
    // Every mutant loads the same program but for one file.
    env: { ...process.env, NODE_COMPILE_CACHE: join(copy, ".cache") },
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024
  })
  if (status === 0) return undefined
  const [seed, fault] = stdout.split("\n").map((line) => line.trim())
  if (seed?.startsWith("seed ") !== true) throw new Error(`the mutant does not run:\n${stderr}`)
  return `${seed} ${fault}`
}

/** What is found while the fault is in the copy. */
const huntWith = (copy: string, mutation: Mutation, seeds: number): string | undefined => {
  const before = new Map<string, string>()
  try {
    for (const replacement of replacementsOf(mutation)) {
      const path = join(copy, replacement.file)
      const text = readFileSync(path, "utf8")
      before.set(path, before.get(path) ?? text)
      writeFileSync(path, mutated(text, replacement))
    }
    return hunt(copy, seeds, mutation.theme)
  } finally {
    for (const [path, text] of before) writeFileSync(path, text)
  }
}

/** Answers the exit code: 0 where every mutant was found. */
export const runMutations = (
  seeds: number,
  { only, theme }: { readonly only?: string | undefined; readonly theme?: string | undefined },
  print: (text: string) => void
): number => {
  const chosen = mutations.filter(
    (one) =>
      (only === undefined || one.name.includes(only)) &&
      (theme === undefined || (one.theme ?? "everything") === theme)
  )
  const copy = copySources()
  let missed = 0
  try {
    for (const mutation of chosen) {
      const found = huntWith(copy, mutation, seeds)
      if (found === undefined) missed++
      print(`${mutation.name}: ${found === undefined ? `not found in ${seeds} seeds` : found}`)
    }
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
  print(`${chosen.length - missed} of ${chosen.length} found`)
  return missed === 0 ? 0 : 1
}
