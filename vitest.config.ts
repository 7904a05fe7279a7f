import { defineConfig } from "vitest/config"
import { testProjects } from "./test/support/testProjects.ts"

// Workers, and the nodes and command lines that tests start, share what V8 has compiled: it halves what a start costs.
process.env.NODE_COMPILE_CACHE ??= `${import.meta.dirname}/node_modules/.cache/v8`

const { unit, exhaustive, integration } = testProjects()

export default defineConfig({
  test: {
    // Bounds on waiting, not on speed: a machine that does something else besides takes many times as long.
    testTimeout: 420_000,
    hookTimeout: 420_000,
    pool: "forks",
    // V8's own threads collect and compile ahead of a program that runs for long. For tests, which fill the cores themselves, that is an
    // eighth of their processor time.
    execArgv: ["--single-threaded"],
    // Three leave a tenth of two cores idle, while a test waits for a server to start or a lease to end.
    maxWorkers: 4,
    projects: [
      // Loading the modules anew for each file would take more time than most files need.
      { extends: true, test: { name: "unit", include: unit, isolate: false } },
      { extends: true, test: { name: "exhaustive", include: exhaustive, isolate: false } },
      {
        extends: true,
        test: {
          name: "integration",
          include: integration,
          isolate: false,
          globalSetup: ["test/support/globalSetup.ts"]
        }
      }
    ]
  }
})
