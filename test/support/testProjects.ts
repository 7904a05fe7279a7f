/**
 * Sorts the test files into the projects `unit`, `exhaustive` and `integration`, so that `npm run test:unit` starts no
 * server and no process, and takes less than a minute. A file is an integration test when it, or a support file that it
 * imports, takes the URL of a shared server, listens on a socket, or starts a process. The rule reads the imports, so that
 * no list can become untrue. A file whose name ends with `.exhaustive.test.ts` tries every place of a fault, or hundreds
 * of seeds.
 */
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"

const needsServers =
  /\binject\(|\bfreshDatabase\b|\bChildProcess|\bLedgerRpcServer\b|\bSocketServer\b|NodeSocketServer|from "(?:node:(?:child_process|net|tls|http)|(?:\.\.\/)+src\/infra\/dev\/)/

const importsOf = (path: string, text: string): ReadonlyArray<string> =>
  [...text.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)]
    .map(([, target = ""]) => normalize(join(dirname(path), target)))
    .filter((target) => target.startsWith("test/") && existsSync(target))

const isIntegration = (path: string, seen: Set<string> = new Set()): boolean => {
  if (seen.has(path)) return false
  seen.add(path)
  const text = readFileSync(path, "utf8")
  return needsServers.test(text) || importsOf(path, text).some((target) => isIntegration(target, seen))
}

/** It starts `git` alone, and its place is beside the rules that a quick run should tell. */
const isUnitAllTheSame = new Set(["test/tidy.test.ts"])

const listFiles = (): ReadonlyArray<string> =>
  execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "test"], {
    encoding: "utf8"
  })
    .split("\n")
    .filter((path) => path.endsWith(".test.ts") && existsSync(path))

export type TestProject = "unit" | "exhaustive" | "integration"

const projectOf = (path: string): TestProject => {
  if (!isUnitAllTheSame.has(path) && isIntegration(path)) return "integration"
  return path.endsWith(".exhaustive.test.ts") ? "exhaustive" : "unit"
}

export const testProjects = (): Readonly<Record<TestProject, Array<string>>> => {
  const projects: Record<TestProject, Array<string>> = { unit: [], exhaustive: [], integration: [] }
  for (const path of listFiles()) projects[projectOf(path)].push(path)
  return projects
}
