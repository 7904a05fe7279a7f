/** The safeguards of the nodes' port, read from the environment: what goes together, and what is refused with its reason. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Redacted } from "effect"
import {
  ClusterSecurity,
  checkReach,
  clusterSecurityFromEnvironment
} from "../../src/infra/config/ClusterSecurity.ts"

const pem = (name: string) => fileURLToPath(new URL(`../rpc/certificates/${name}`, import.meta.url))

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "chronicle-security-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const read = (variables: Readonly<Record<string, string>>) =>
  ClusterSecurity.pipe(
    Effect.provide(clusterSecurityFromEnvironment),
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables))
  )

describe("the safeguards of the nodes' port", () => {
  it.effect("are none by default", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* read({}), { secret: undefined, tls: undefined })
    })
  )

  it.effect("are a secret, as it is or from a file, and TLS from files", () =>
    Effect.gen(function* () {
      const path = yield* directory
      const file = (name: string, text: string) => {
        writeFileSync(join(path, name), text)
        return join(path, name)
      }
      // An empty variable is as one that is not set.
      const direct = yield* read({
        CHRONICLE_CLUSTER_SECRET: "0123456789abcdef",
        CHRONICLE_CLUSTER_SECRET_FILE: ""
      })
      assert.strictEqual(direct.secret && Redacted.value(direct.secret), "0123456789abcdef")
      const all = yield* read({
        CHRONICLE_CLUSTER_SECRET_FILE: file("secret", "fedcba9876543210\n"),
        CHRONICLE_CLUSTER_TLS_CERT: pem("server.pem"),
        CHRONICLE_CLUSTER_TLS_KEY: pem("server.key"),
        CHRONICLE_CLUSTER_TLS_CA: pem("ledger-ca.pem")
      })
      assert.strictEqual(all.secret && Redacted.value(all.secret), "fedcba9876543210")
      assert.include(all.tls?.cert, "-----BEGIN CERTIFICATE-----")
      assert.strictEqual(all.tls?.ca, readFileSync(pem("ledger-ca.pem"), "utf8"))
    }).pipe(Effect.scoped)
  )

  const refused: ReadonlyArray<readonly [what: string, Readonly<Record<string, string>>, RegExp]> = [
    [
      "a short secret",
      { CHRONICLE_CLUSTER_SECRET: "short" },
      /CHRONICLE_CLUSTER_SECRET: .* at least 16 characters/
    ],
    [
      "a file that is not there",
      { CHRONICLE_CLUSTER_SECRET_FILE: "not-there" },
      /CHRONICLE_CLUSTER_SECRET_FILE: /
    ],
    [
      "a secret and a file of one",
      { CHRONICLE_CLUSTER_SECRET: "0123456789abcdef", CHRONICLE_CLUSTER_SECRET_FILE: "not-there" },
      /CHRONICLE_CLUSTER_SECRET and CHRONICLE_CLUSTER_SECRET_FILE exclude each other/
    ],
    [
      "a certificate without its key",
      { CHRONICLE_CLUSTER_TLS_CERT: "x" },
      /TLS_CERT and .*TLS_KEY go together/
    ],
    [
      "a key of another certificate",
      {
        CHRONICLE_CLUSTER_TLS_CERT: pem("server.pem"),
        CHRONICLE_CLUSTER_TLS_KEY: pem("address.key")
      },
      /TLS_CERT.* cannot be used: .*key values mismatch/
    ],
    [
      "a certificate that is none",
      {
        CHRONICLE_CLUSTER_TLS_CERT: pem("server.key"),
        CHRONICLE_CLUSTER_TLS_KEY: pem("server.key")
      },
      /TLS_CERT.* cannot be used: .*no start line/
    ],
    ["an authority alone", { CHRONICLE_CLUSTER_TLS_CA: "x" }, /TLS_CERT and .*TLS_KEY go together/]
  ]
  it.effect.each(refused)("are refused for %s", ([, variables, words]) =>
    Effect.gen(function* () {
      assert.match((yield* Effect.flip(read(variables))).message, words)
    })
  )

  it.effect("must have a secret where the port can be reached from other machines", () =>
    Effect.gen(function* () {
      for (const host of ["127.0.0.1", "127.8.9.10", "::1", "localhost"]) yield* checkReach(host)
      for (const host of ["0.0.0.0", "::", "10.0.0.7", "ledger-1"])
        assert.match((yield* Effect.flip(checkReach(host))).message, /does not listen at .* without a secret/)
      yield* checkReach("0.0.0.0").pipe(
        Effect.provideService(ClusterSecurity, { secret: Redacted.make("0123456789abcdef"), tls: undefined })
      )
    })
  )
})
