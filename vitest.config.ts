import { defineConfig } from "vitest/config"
import { testProjects } from "./test/support/testProjects.ts"

const { unit, integration } = testProjects()

export default defineConfig({
  test: {
    // Bounds on waiting, not on speed: a machine that does something else besides takes many times as long.
    testTimeout: 180_000,
    hookTimeout: 240_000,
    pool: "forks",
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: "unit", include: unit } },
      {
        extends: true,
        test: { name: "integration", include: integration, globalSetup: ["test/support/globalSetup.ts"] }
      }
    ]
  }
})
