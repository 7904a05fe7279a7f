/** docker-compose.yml, the Dockerfile and what they mount match what the code needs, and keep their secrets. */
import { spawnSync } from "node:child_process"
import { createPrivateKey, X509Certificate } from "node:crypto"
import {
  chmodSync,
  existsSync,
  globSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { NodeServices } from "@effect/platform-node"
import { expect, it } from "@effect/vitest"
import { ConfigProvider, Effect, Option, Redacted, Schema } from "effect"
import { describe } from "vitest"
import { parse } from "yaml"
import packageJson from "../package.json" with { type: "json" }
import { readHttpSettings } from "../src/http/server/HttpSettings.ts"
import { ClusterSecurity, clusterSecurityFromEnvironment } from "../src/infra/config/ClusterSecurity.ts"
import { clusterConfig, servicesConfig } from "../src/infra/config/Environment.ts"
import { findNats } from "../src/infra/dev/NatsServer.ts"
import { readRpcSettings } from "../src/rpc/server/RpcSettings.ts"

const root = join(import.meta.dirname, "..")
const read = (file: string) => readFileSync(join(root, file), "utf8")

/** A service as this project writes it; fields that are not checked are left out. */
const Service = Schema.Struct({
  image: Schema.optionalKey(Schema.String),
  build: Schema.optionalKey(Schema.String),
  user: Schema.optionalKey(Schema.String),
  command: Schema.optionalKey(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  environment: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  ports: Schema.optionalKey(Schema.Array(Schema.String)),
  secrets: Schema.optionalKey(Schema.Array(Schema.String)),
  volumes: Schema.optionalKey(Schema.Array(Schema.String)),
  read_only: Schema.optionalKey(Schema.Boolean),
  tmpfs: Schema.optionalKey(Schema.Array(Schema.String)),
  healthcheck: Schema.optionalKey(Schema.Struct({ test: Schema.Array(Schema.String) })),
  networks: Schema.optionalKey(
    Schema.Struct({ default: Schema.Struct({ aliases: Schema.Array(Schema.String) }) })
  ),
  depends_on: Schema.optionalKey(
    Schema.Record(
      Schema.String,
      Schema.Struct({
        condition: Schema.Literals(["service_started", "service_healthy", "service_completed_successfully"])
      })
    )
  )
})
const Compose = Schema.Struct({
  services: Schema.Record(Schema.String, Service),
  secrets: Schema.Record(Schema.String, Schema.Struct({ file: Schema.String })),
  volumes: Schema.Record(Schema.String, Schema.Null)
})

/** As `docker compose` fills them in from an environment. */
const interpolated = (text: string, variables: Readonly<Record<string, string>>): string =>
  text.replaceAll(
    /\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}/g,
    (_, name: string, otherwise?: string) => variables[name] ?? otherwise ?? expect.fail(`${name} is not set`)
  )
const passwords = { CHRONICLE_NATS_PASSWORD: "n-one", CHRONICLE_NATS_CLUSTER_PASSWORD: "n-two" }
const { services, secrets, volumes } = Schema.decodeUnknownSync(Compose)(
  parse(interpolated(read("docker-compose.yml"), passwords), { merge: true })
)
const service = (name: string): typeof Service.Type => services[name] ?? expect.fail(`no service ${name}`)
const named = (prefix: string) =>
  Object.keys(services).filter((name) => new RegExp(`^${prefix}-\\d$`).test(name))
const dockerfile = read("Dockerfile")
const environment = service("ledger-1").environment ?? {}
const config = Effect.runSync(servicesConfig.parse(ConfigProvider.fromUnknown(environment)))

describe("docker-compose.yml", () => {
  it("has three CockroachDB nodes that join each other and share the name in the ledger's URL", () => {
    const nodes = named("cockroach")
    expect(nodes.length).toBe(3)
    const { hostname } = new URL(Redacted.value(config.eventStoreUrl))
    for (const node of nodes) {
      expect(service(node).command).toContain(`--advertise-addr=${node} --join=${nodes.join(",")}`)
      expect(service(node).networks?.default.aliases).toContain(hostname)
    }
  })

  it("has three NATS servers with JetStream, each with a name and a volume of its own", () => {
    const servers = named("nats")
    expect(servers.length).toBe(3)
    for (const server of servers) {
      expect(service(server).environment?.NATS_SERVER_NAME).toBe(server)
      expect(service(server).volumes).toEqual([
        "./docker/nats.conf:/etc/nats/nats.conf:ro",
        `${server}:/data`
      ])
      expect(service(server).command).toEqual(["--config", "/etc/nats/nats.conf"])
    }
    const urls = config.natsUrl.split(",").map((url) => new URL(url))
    expect(urls.map(({ host }) => host)).toEqual(servers.map((server) => `${server}:4222`))
    expect(config.natsReplicas).toBe(servers.length)
  })

  it("syncs each message to disk and joins the NATS servers in one cluster", () => {
    const conf = read("docker/nats.conf")
    expect(conf).toMatch(/jetstream \{[^}]*store_dir: "\/data"[^}]*sync_interval: always\s*\}/)
    expect(conf).toContain("server_name: $NATS_SERVER_NAME")
    for (const server of named("nats")) {
      const { NATS_CLUSTER_PASSWORD: password, ...routes } = service(server).environment ?? {}
      for (const [index, name] of named("nats").entries()) {
        expect(conf).toContain(`$NATS_ROUTE_${index + 1}\n`)
        expect(routes[`NATS_ROUTE_${index + 1}`]).toBe(`nats://cluster:${password}@${name}:6222`)
      }
    }
  })

  it("asks the ledger and the other servers of NATS for passwords, none of which stands in a file", () => {
    const [first] = config.natsUrl.split(",")
    const { username, password } = new URL(first ?? "")
    expect([username, password]).toEqual(["chronicle", passwords.CHRONICLE_NATS_PASSWORD])
    const conf = read("docker/nats.conf")
    expect(conf).toMatch(
      /^authorization \{\s*users: \[\s*\{ user: "chronicle", password: \$NATS_PASSWORD \}\s*\]\s*\}/m
    )
    expect(conf).toMatch(
      /cluster \{[\s\S]*authorization \{\s*user: "cluster"\s*password: \$NATS_CLUSTER_PASSWORD\s*\}/
    )
    for (const server of named("nats")) {
      expect(service(server).environment).toMatchObject({
        NATS_PASSWORD: passwords.CHRONICLE_NATS_PASSWORD,
        NATS_CLUSTER_PASSWORD: passwords.CHRONICLE_NATS_CLUSTER_PASSWORD
      })
    }
    // Without them nothing starts.
    expect(() => interpolated(read("docker-compose.yml"), {})).toThrow("CHRONICLE_NATS_PASSWORD is not set")
  })

  it.effect("has a NATS configuration that the server accepts", () =>
    Effect.gen(function* () {
      const directory = mkdtempSync(join(tmpdir(), "chronicle-nats-"))
      const { program, syncsAlways } = yield* findNats(join(directory, "version.log"))
      const shipped = read("docker/nats.conf").replace("/data", directory)
      // Servers before 2.10 do not know the field; the image's does.
      const conf = syncsAlways ? shipped : shipped.replace("sync_interval: always", "")
      writeFileSync(join(directory, "nats.conf"), conf)
      const { status, stderr } = spawnSync(program, ["-t", "-c", join(directory, "nats.conf")], {
        env: service("nats-1").environment ?? {},
        encoding: "utf8"
      })
      rmSync(directory, { recursive: true })
      expect(stderr).toContain("is valid")
      expect(status).toBe(0)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it("gives the ledger variables that the code reads, and every one without a default", () => {
    const sources = globSync("src/**/*.ts", { cwd: root }).map(read).join("\n")
    for (const name of Object.keys(environment)) expect(sources).toContain(`"${name}"`)
    for (const name of ["EVENT_STORE_URL", "READ_MODEL_URL", "NATS_URL"]) {
      const { [`CHRONICLE_${name}`]: _, ...others } = environment
      const parsed = Effect.runSync(Effect.option(servicesConfig.parse(ConfigProvider.fromUnknown(others))))
      expect(Option.isNone(parsed)).toBe(true)
    }
  })

  it("gives PostgreSQL the user, the password and the database of the ledger's URL", () => {
    const url = new URL(Redacted.value(config.readModelUrl))
    expect(service(url.hostname).environment).toEqual({
      POSTGRES_USER: url.username,
      POSTGRES_PASSWORD: url.password,
      POSTGRES_DB: url.pathname.slice(1)
    })
  })

  it("makes the database of the event store's URL before the schema", () => {
    const database = new URL(Redacted.value(config.eventStoreUrl)).pathname.slice(1)
    expect(String(service("cockroach-init").command)).toContain(`CREATE DATABASE IF NOT EXISTS ${database}"`)
    expect(service("migrate").depends_on?.["cockroach-init"]?.condition).toBe(
      "service_completed_successfully"
    )
    expect(service("migrate").command).toEqual(["migrate"])
    for (const [name, value] of Object.entries(service("migrate").environment ?? {}))
      expect(environment[name], name).toBe(value)
  })

  it("starts the ledger after the migration, when every service is healthy", () => {
    for (const node of named("ledger")) {
      const conditions = service(node).depends_on ?? {}
      expect(conditions.migrate?.condition).toBe("service_completed_successfully")
      for (const name of [...named("cockroach"), ...named("nats"), "postgres"]) {
        expect(conditions[name]?.condition).toBe("service_healthy")
      }
    }
  })

  it("has three ledger nodes, each with a name of its own and an address that the others reach", () => {
    const nodes = named("ledger")
    expect(nodes.length).toBe(3)
    const names = nodes.map((node) => {
      const provider = ConfigProvider.fromUnknown(service(node).environment ?? {})
      const cluster = Effect.runSync(clusterConfig.parse(provider))
      expect(cluster?.host).toBe(node)
      expect(cluster?.listenHost).toBe("0.0.0.0")
      // The nodes' port is not published, RPC and HTTP are.
      expect(service(node).ports).toEqual([
        `127.0.0.1:707${node.at(-1)}:${environment.CHRONICLE_RPC_PORT}`,
        `127.0.0.1:708${node.at(-1)}:${environment.CHRONICLE_HTTP_PORT}`
      ])
      return Effect.runSync(servicesConfig.parse(provider)).nodeName
    })
    expect(new Set(names).size).toBe(3)
  })

  it("opens RPC to peers with the certificate and the tokens that its script makes, and to no other caller", () =>
    Effect.gen(function* () {
      const directory = mkdtempSync(join(tmpdir(), "chronicle-secrets-"))
      // As an operator may have made it before.
      chmodSync(directory, 0o777)
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(directory, { recursive: true })))
      chmodSync(directory, 0o755)
      const made = spawnSync("sh", ["docker/secrets.sh", directory], { cwd: root, encoding: "utf8" })
      if (spawnSync("openssl", ["version"]).status !== 0) {
        console.warn("NOT TESTED: there is no openssl on this machine, so no secrets were made")
        return
      }
      expect(made.stderr).toBe("")
      expect(made.status).toBe(0)
      // Only the key's owner can read it, though the directory was open to all.
      const isDirectoryOpen = (statSync(directory).mode & 0o077) !== 0
      if (isDirectoryOpen) expect(statSync(join(directory, "rpc-key.pem")).mode & 0o077).toBe(0)
      /** Where a file of a container comes from: the secret's, made in the directory of this test. */
      const sourceOf = (path: string | undefined) => {
        const name = path?.replace("/run/secrets/", "") ?? ""
        for (const node of named("ledger")) expect(service(node).secrets).toContain(name)
        const file = secrets[name]?.file ?? expect.fail(`no secret ${name}`)
        expect(read(".gitignore")).toContain("docker/secrets/")
        return file.replace("./docker/secrets", directory)
      }
      const variables = Object.fromEntries(
        Object.entries(environment).map(([name, value]) => [
          name,
          value.startsWith("/run/secrets/") ? sourceOf(value) : value
        ])
      )
      const settings = yield* readRpcSettings.pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables))
      )
      expect(settings.host).toBe("0.0.0.0")
      const http = yield* readHttpSettings.pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables))
      )
      expect([http.host, http.tls?.cert, http.tokens]).toEqual([
        "0.0.0.0",
        settings.tls?.cert,
        settings.tokens
      ])
      const { secret } = yield* ClusterSecurity.pipe(
        Effect.provide(clusterSecurityFromEnvironment),
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables))
      )
      expect(Redacted.value(secret ?? Redacted.make(""))).toMatch(/^[0-9a-f]{64}$/)
      expect(settings.tls?.cert).toContain("BEGIN CERTIFICATE")
      expect(settings.tokens.map(({ name, scopes }) => [name, scopes])).toEqual([
        ["peer", ["read", "command"]]
      ])
      // Only their owner can read them, whatever the mode of the directory was.
      const modeOf = (path: string) => statSync(path).mode & 0o777
      expect(modeOf(directory)).toBe(0o700)
      for (const file of readdirSync(directory)) expect(modeOf(join(directory, file)), file).toBe(0o600)
      const variablesOfCompose = Object.fromEntries(
        readFileSync(join(directory, "compose.env"), "utf8")
          .trim()
          .split("\n")
          .map((line) => line.split("=", 2))
      )
      expect(variablesOfCompose.CHRONICLE_NATS_PASSWORD).toMatch(/^n[0-9a-f]{48}$/)
      expect(variablesOfCompose.CHRONICLE_NATS_CLUSTER_PASSWORD).toMatch(/^n[0-9a-f]{48}$/)
      const key = statSync(join(directory, "rpc-key.pem"))
      expect(variablesOfCompose.CHRONICLE_USER).toBe(`${key.uid}:${key.gid}`)
      const composed = interpolated(read("docker-compose.yml"), variablesOfCompose)
      expect(composed).toContain(`user: "${key.uid}:${key.gid}"`)
      const peer = readFileSync(join(directory, "peer.env"), "utf8")
      const nameOf = (line: string) => line.split("=")[0]
      expect(
        read("docker/peer.env.example")
          .split("\n")
          .filter((line) => !line.startsWith("#"))
          .map(nameOf)
      ).toEqual(peer.split("\n").map(nameOf))
      const ports = named("ledger").map((node) =>
        (service(node).ports?.[0] ?? "").split(":").slice(0, 2).join(":")
      )
      expect(peer).toContain(`CHRONICLE_RPC_URL=${ports.map((port) => `tls://${port}`).join(",")}\n`)
      const cert = settings.tls?.cert ?? ""
      const privateKey = createPrivateKey(Redacted.value(settings.tls?.key ?? Redacted.make("")))
      expect(new X509Certificate(cert).checkPrivateKey(privateKey)).toBe(true)
      for (const host of ["localhost", ...named("ledger")])
        expect(new X509Certificate(cert).checkHost(host)).toBe(host)
      expect(new X509Certificate(cert).checkIP("127.0.0.1")).toBe("127.0.0.1")
      // Made once: a second run would lock the peers out.
      expect(spawnSync("sh", ["docker/secrets.sh", directory], { cwd: root }).status).toBe(1)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer), Effect.runPromise))

  it("asks the ledger for its health at the port and the path that it serves", () => {
    const url = /get\("(.+?)"/.exec(service("ledger-1").healthcheck?.test.at(-1) ?? "")?.[1] ?? ""
    const { hostname, pathname, port } = new URL(url)
    expect([hostname, port]).toEqual(["127.0.0.1", environment.CHRONICLE_HTTP_PORT])
    expect(url).toMatch(/^https:/)
    expect(read("src/http/Health.ts")).toContain(`"${pathname}"`)
  })

  it("waits for health only where health is checked, and for services that exist", () => {
    for (const [name, { depends_on = {} }] of Object.entries(services)) {
      for (const [other, { condition }] of Object.entries(depends_on)) {
        expect(Object.keys(services), `${name} waits for ${other}`).toContain(other)
        if (condition === "service_healthy") expect(service(other).healthcheck, other).toBeDefined()
      }
    }
  })

  it("pins every image to a release", () => {
    for (const [name, { image }] of Object.entries(services)) {
      expect(image, name).toMatch(/:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?$/)
    }
  })

  it("publishes ports on this machine only", () => {
    for (const { ports = [] } of Object.values(services)) {
      for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/)
    }
  })

  it("declares every volume it uses, and mounts only files that exist", () => {
    const sources = Object.values(services).flatMap(({ volumes = [] }) =>
      volumes.map((v) => v.split(":")[0] ?? "")
    )
    for (const source of sources) {
      expect(source.startsWith("./") ? existsSync(join(root, source)) : source in volumes, source).toBe(true)
    }
    expect(Object.keys(volumes).filter((name) => !sources.includes(name))).toEqual([])
  })
})

describe("Dockerfile", () => {
  it("runs the Node of package.json, as a user that is not root", () => {
    const images = [...dockerfile.matchAll(/^FROM node:(\d+)\.\d+\.\d+-/gm)].map(([, major]) => major)
    const major = packageJson.devDependencies.node.split(".")[0]
    expect(images).toEqual([major, major, major])
    expect(dockerfile).toMatch(/^USER node$/m)
    expect(service("ledger-1").read_only).toBe(true)
  })

  it("keeps compiled code where a container may write", () => {
    const [, folder = ""] = /^ENV NODE_COMPILE_CACHE=(.+)$/m.exec(dockerfile) ?? []
    expect(service("ledger-1").tmpfs).toContain(dirname(folder))
  })

  it("copies what exists, and the build context holds it", () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(
      ([, files]) => files?.split(" ") ?? []
    )
    expect(copied).toContain("src")
    expect(copied).toContain("migrations")
    const context = read(".dockerignore").split("\n")
    for (const file of new Set(copied)) {
      expect(existsSync(join(root, file)), file).toBe(true)
      expect(context).toContain(`!${file}`)
    }
  })

  it("starts the command line that package.json names", () => {
    const entry = /^ENTRYPOINT \["node", "(.+)"\]$/m.exec(dockerfile)?.[1]
    expect(packageJson.scripts.chronicle).toBe(`node_modules/.bin/node ${entry}`)
  })
})
