import { defineConfig } from "vitest/config"
import { testProjects } from "./test/support/testProjects.ts"

const { unit, exhaustive, integration } = testProjects()

export default defineConfig({
  test: {
    // Bounds on waiting, not on speed: a machine that does something else besides takes many times as long.
    testTimeout: 180_000,
    hookTimeout: 240_000,
    pool: "forks",
    maxWorkers: 2,
    projects: [
      // Loading the modules anew for each file would take more time than most files of these two need.
      { extends: true, test: { name: "unit", include: unit, isolate: false } },
      { extends: true, test: { name: "exhaustive", include: exhaustive, isolate: false } },
      {
        extends: true,
        test: { name: "integration", include: integration, globalSetup: ["test/support/globalSetup.ts"] }
      }
    ]
  }
})
