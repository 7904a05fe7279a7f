/** The manifests of deploy/kubernetes agree with each other and with what the program reads and serves. */
import { globSync, readFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Option, Schema } from "effect"
import { parse, parseAllDocuments } from "yaml"
import packageJson from "../package.json" with { type: "json" }
import { hardLimitMib } from "../src/actors/thread/HeapWatch.ts"
import { clusterConfig, servicesConfig } from "../src/infra/config/Environment.ts"
import { limitsOf } from "../src/infra/config/Limits.ts"
import { readSideLimits } from "../src/infra/config/ReadSideConfig.ts"

const root = join(import.meta.dirname, "..")
const read = (file: string) => readFileSync(join(root, file), "utf8")
const folder = "deploy/kubernetes"
const rolesFolder = "deploy/kubernetes-roles"

const Probe = Schema.Struct({
  httpGet: Schema.Struct({ scheme: Schema.String, port: Schema.String, path: Schema.String })
})
const Container = Schema.Struct({
  image: Schema.String,
  args: Schema.Array(Schema.String),
  env: Schema.optionalKey(
    Schema.Array(Schema.Struct({ name: Schema.String, value: Schema.optionalKey(Schema.String) }))
  ),
  envFrom: Schema.Array(Schema.Record(Schema.String, Schema.Struct({ name: Schema.String }))),
  ports: Schema.optionalKey(
    Schema.Array(Schema.Struct({ name: Schema.String, containerPort: Schema.Number }))
  ),
  startupProbe: Schema.optionalKey(Probe),
  livenessProbe: Schema.optionalKey(Probe),
  readinessProbe: Schema.optionalKey(Probe),
  securityContext: Schema.Struct({
    allowPrivilegeEscalation: Schema.Boolean,
    readOnlyRootFilesystem: Schema.Boolean,
    capabilities: Schema.Struct({ drop: Schema.Array(Schema.String) })
  }),
  resources: Schema.Struct({ limits: Schema.Struct({ memory: Schema.String }) }),
  volumeMounts: Schema.optionalKey(
    Schema.Array(Schema.Struct({ name: Schema.String, mountPath: Schema.String }))
  )
})
const Pods = Schema.Struct({
  spec: Schema.Struct({
    template: Schema.Struct({
      metadata: Schema.Struct({ labels: Schema.Record(Schema.String, Schema.String) }),
      spec: Schema.Struct({
        enableServiceLinks: Schema.Boolean,
        terminationGracePeriodSeconds: Schema.optionalKey(Schema.Number),
        securityContext: Schema.Struct({ runAsNonRoot: Schema.Boolean, runAsUser: Schema.Number }),
        containers: Schema.Array(Container),
        volumes: Schema.optionalKey(
          Schema.Array(
            Schema.Struct({
              name: Schema.String,
              secret: Schema.optionalKey(Schema.Struct({ secretName: Schema.String }))
            })
          )
        )
      })
    })
  })
})
const Selector = Schema.Struct({ matchLabels: Schema.Record(Schema.String, Schema.String) })

interface Manifest {
  readonly file: string
  readonly kind: string
  readonly name: string
  readonly body: unknown
}

const manifests: ReadonlyArray<Manifest> = globSync([`${folder}/*.yaml`, `${rolesFolder}/*.yaml`], {
  cwd: root
})
  .filter((file) => basename(file) !== "kustomization.yaml")
  .flatMap((file) =>
    parseAllDocuments(read(file)).map((document) => {
      assert.deepEqual(document.errors, [], file)
      const body: { kind: string; metadata: { name: string } } = document.toJS() // each manifest has these
      return { file: basename(file), kind: body.kind, name: body.metadata.name, body }
    })
  )
const bodyOf = (kind: string, name: string): unknown =>
  manifests.find((one) => one.kind === kind && one.name === name)?.body ?? assert.fail(`no ${kind} ${name}`)

const podsOf = (kind: string, name: string) =>
  Schema.decodeUnknownSync(Pods)(bodyOf(kind, name)).spec.template
const containerOf = (kind: string, name: string) =>
  podsOf(kind, name).spec.containers[0] ?? assert.fail(`${name} has no container`)

const { data: settings } = Schema.decodeUnknownSync(
  Schema.Struct({ data: Schema.Record(Schema.String, Schema.String) })
)(bodyOf("ConfigMap", "chronicle"))

/** What `chronicle-services`, which the user makes, must hold. */
const services = {
  CHRONICLE_EVENT_STORE_URL: "postgresql://ledger@store:26257/chronicle",
  CHRONICLE_READ_MODEL_URL: "postgresql://ledger@postgres:5432/chronicle",
  CHRONICLE_NATS_URL: "nats://chronicle@nats:4222"
}
/** The variables of the second pod of a set, as Kubernetes makes them. */
const variablesOf = (set: string): Readonly<Record<string, string>> => ({
  ...settings,
  ...services,
  ...Object.fromEntries(
    (containerOf("StatefulSet", set).env ?? []).map(({ name, value }) => [
      name,
      value?.replace("$(CHRONICLE_NODE_NAME)", `${set}-1`) ?? `${set}-1`
    ])
  )
})
const variables = variablesOf("ledger")
const sets = ["ledger", "read-side"]

describe("the manifests for Kubernetes", () => {
  it("are all named by the kustomization, with the release of this version", () => {
    const [one, roles] = [folder, rolesFolder].map((where) => parse(read(`${where}/kustomization.yaml`)))
    const named = [...one.resources, ...roles.resources.filter((file: string) => file !== "../kubernetes")]
    assert.sameMembers(named, [...new Set(manifests.map(({ file }) => file))])
    for (const { images } of [one, roles])
      assert.deepEqual(images, [{ name: "chronicle-ledger", newTag: packageJson.version }])
  })

  it("set variables that the program reads, and leave none out that has no default", () => {
    const sources = globSync("src/**/*.ts", { cwd: root }).map(read).join("\n")
    // The names of limits are made of those of their fields.
    const limits = read("docs/limits.md")
    for (const name of Object.keys(variables))
      assert.isTrue(sources.includes(`"${name}"`) || limits.includes(`| \`${name}\` |`), name)
    const provider = ConfigProvider.fromUnknown(variables)
    const { nodeName } = Effect.runSync(servicesConfig.parse(provider))
    assert.strictEqual(nodeName, "ledger-1")
    for (const name of Object.keys(services)) {
      const { [name as keyof typeof services]: _, ...others } = services
      const left = ConfigProvider.fromUnknown({ ...settings, ...others })
      assert.isTrue(Option.isNone(Effect.runSync(Effect.option(servicesConfig.parse(left)))), name)
    }
  })

  it("give each node an address by which the headless service names its pod", () => {
    const cluster = Effect.runSync(clusterConfig.parse(ConfigProvider.fromUnknown(variables)))
    const { serviceName } = Schema.decodeUnknownSync(
      Schema.Struct({ spec: Schema.Struct({ serviceName: Schema.String }) })
    )(bodyOf("StatefulSet", "ledger")).spec
    const { namespace } = parse(read(`${folder}/kustomization.yaml`))
    assert.strictEqual(cluster?.host, `ledger-1.${serviceName}.${namespace}.svc`)
    assert.strictEqual(cluster?.listenHost, "0.0.0.0")
    const { spec } = Schema.decodeUnknownSync(
      Schema.Struct({
        spec: Schema.Struct({ clusterIP: Schema.String, publishNotReadyAddresses: Schema.Boolean })
      })
    )(bodyOf("Service", serviceName))
    assert.deepEqual(spec, { clusterIP: "None", publishNotReadyAddresses: true })
  })

  it("name nodes and services by names for which the certificate of the guide is valid", async () => {
    // Loaded here, for it opens no socket, as a file does that imports it.
    const { checkServerIdentity } = await import("node:tls")
    const [, names = assert.fail("the guide says which names")] =
      /`(DNS:[^`]+)`/.exec(read("docs/operations.md")) ?? []
    // As Node has it of a certificate with these names; of the rest it looks at nothing.
    const certificate = { subject: {}, subjectaltname: names.replaceAll(",", ", ") } as Parameters<
      typeof checkServerIdentity
    >[1]
    const ofNodes = sets.map((set) => variablesOf(set).CHRONICLE_CLUSTER_HOST ?? assert.fail(set))
    const ofServices = manifests
      .filter(({ kind, name }) => kind === "Service" && name !== "ledger")
      .flatMap(({ name }) => [name, `${name}.chronicle.svc`])
    const ofPeers = [...read(`${folder}/services.yaml`).matchAll(/[\w.-]+(?=:70\d0)/g)].map(([name]) => name)
    assert.deepEqual(
      [ofNodes.length, ofServices.length, ofPeers.length],
      [2, 4, 1],
      "none of them is overlooked"
    )
    for (const name of [...ofNodes, ...ofServices, ...ofPeers])
      assert.isUndefined(checkServerIdentity(name, certificate)?.message, name)
  })

  it("leave the thread of commands half of the memory beside the heap of the read side's thread", () => {
    const { readSideHeapMib } = Effect.runSync(
      limitsOf(readSideLimits).pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(settings))
      )
    )
    for (const set of sets) {
      const [, gib = assert.fail(set)] =
        /^(\d+)Gi$/.exec(containerOf("StatefulSet", set).resources.limits.memory) ?? []
      assert.isAtMost(hardLimitMib(readSideHeapMib) * 2, Number(gib) * 1_024, set)
    }
  })

  it("open the ports that the settings name", () => {
    const ports = (containerOf("StatefulSet", "ledger").ports ?? []).map(({ name, containerPort }) => [
      name,
      String(containerPort)
    ])
    assert.deepEqual(ports, [
      ["rpc", settings.CHRONICLE_RPC_PORT],
      ["http", settings.CHRONICLE_HTTP_PORT],
      ["nodes", settings.CHRONICLE_CLUSTER_PORT]
    ])
  })

  it("probe, over TLS, what the node serves to readers without a token", () => {
    const { startupProbe, livenessProbe, readinessProbe } = containerOf("StatefulSet", "ledger")
    const probes = [startupProbe, livenessProbe, readinessProbe].map((probe) => probe?.httpGet)
    assert.deepEqual(
      probes.map((probe) => probe?.path),
      ["/health", "/health", "/ready/commands"]
    )
    for (const probe of probes) {
      assert.deepEqual([probe?.scheme, probe?.port], ["HTTPS", "http"])
      assert.include(read("src/http/Health.ts"), `"${probe?.path}"`)
    }
  })

  it("mount each file that the settings name from a secret, and name every secret in the guide", () => {
    const { volumeMounts = [] } = containerOf("StatefulSet", "ledger")
    const { volumes = [] } = podsOf("StatefulSet", "ledger").spec
    const secretOf = (directory: string) =>
      volumes.find(({ name }) => volumeMounts.some((one) => one.name === name && one.mountPath === directory))
        ?.secret?.secretName
    const guide = read("docs/operations.md")
    for (const [name, path] of Object.entries(settings).filter(([, value]) => value.startsWith("/"))) {
      const secret = secretOf(dirname(path)) ?? assert.fail(`${name}: nothing is mounted at ${dirname(path)}`)
      assert.include(guide, secret)
      assert.include(guide, basename(path), `the guide says how ${path} is made`)
    }
    for (const name of Object.keys(services)) assert.include(guide, `${name}=`)
  })

  it("keep their budgets on the pods of one set each, and their policy and names on those of all", () => {
    const selectorOf = (kind: string, name: string, field: string): unknown => {
      const { spec } = Schema.decodeUnknownSync(
        Schema.Struct({ spec: Schema.Record(Schema.String, Schema.Unknown) })
      )(bodyOf(kind, name))
      return spec[field]
    }
    for (const set of sets) {
      const { labels } = podsOf("StatefulSet", set).metadata
      for (const kind of ["StatefulSet", "PodDisruptionBudget"]) {
        const { matchLabels } = Schema.decodeUnknownSync(Selector)(selectorOf(kind, set, "selector"))
        assert.include(labels, matchLabels, `${kind} ${set}`)
        assert.strictEqual(matchLabels["chronicle-set"], set, "no pod has two budgets or two owners")
      }
      const { matchLabels } = Schema.decodeUnknownSync(Selector)(
        selectorOf("NetworkPolicy", "ledger", "podSelector")
      )
      assert.include(labels, matchLabels)
      const names = Schema.decodeUnknownSync(Schema.Record(Schema.String, Schema.String))(
        selectorOf("Service", "ledger", "selector")
      )
      assert.include(labels, names)
    }
  })

  it("give nodes of the two roles the same but for their role, their probe and their memory", () => {
    const [all, readSide] = sets.map((set) => containerOf("StatefulSet", set))
    assert.deepEqual(readSide?.args, ["serve", "--role", "read-side"])
    assert.strictEqual(readSide?.readinessProbe?.httpGet.path, "/ready")
    const same = ({ args: _, readinessProbe: __, resources: ___, ...rest }: typeof Container.Type) => rest
    if (all === undefined || readSide === undefined) assert.fail("there are both")
    assert.deepEqual(same(readSide), same(all))
    const { patches } = parse(read(`${rolesFolder}/kustomization.yaml`))
    assert.deepEqual(
      parse(patches[0].patch).map(({ value }: { readonly value: unknown }) => value),
      [["serve", "--role", "commands"]]
    )
  })

  it("run without rights that they do not need, and leave a node the time to end", () => {
    for (const [kind, name, command] of [
      ["StatefulSet", "ledger", "serve"],
      ["StatefulSet", "read-side", "serve"],
      ["Job", "migrate", "migrate"]
    ] as const) {
      const { spec } = podsOf(kind, name)
      const { args, securityContext } = containerOf(kind, name)
      assert.strictEqual(args[0], command)
      assert.isTrue(spec.securityContext.runAsNonRoot)
      assert.isFalse(spec.enableServiceLinks)
      assert.deepEqual(securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] }
      })
    }
    // docs/operations.md asks for 30 seconds, and the pause before the signal counts too.
    assert.isAtLeast(podsOf("StatefulSet", "ledger").spec.terminationGracePeriodSeconds ?? 0, 35)
  })
})
