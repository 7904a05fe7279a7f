/**
 * Finds a Chromium for browser tests: `CHRONICLE_CHROMIUM`, one on the PATH, or Debian's packages of it, unpacked beside the system and not
 * into it, as the development stack does with nats-server. Where none is to be had, the tests fail and say how to get one.
 */
import { execFileSync } from "node:child_process"
import {
  accessSync,
  constants,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

export interface Chromium {
  readonly executablePath: string
  /** What it needs to find its libraries and fonts, where the system does not have them. */
  readonly env: Readonly<Record<string, string>>
}

const names = ["chromium", "chromium-browser", "google-chrome"]

const isProgram = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const onPath = (name: string): string | undefined =>
  (process.env.PATH ?? "")
    .split(":")
    .map((directory) => join(directory, name))
    .find(isProgram)

const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "chronicle-ledger", "chromium")

/** A whole system's worth of files below the cache, of which Chromium is told where they are. */
const unpacked = (): Chromium | undefined => {
  const executablePath = join(cache, "usr", "lib", "chromium", "chromium")
  if (!isProgram(executablePath)) return undefined
  const libraries = ["*-linux-gnu", "*-linux-gnu/pulseaudio"].flatMap((folder) =>
    globSync(join(cache, "usr", "lib", folder))
  )
  return {
    executablePath,
    env: { LD_LIBRARY_PATH: libraries.join(":"), FONTCONFIG_FILE: join(cache, "fonts.conf") }
  }
}

const fontsOf = (root: string) => `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>${root}/usr/share/fonts</dir>
  <cachedir>${root}/fontcache</cachedir>
  <alias><family>system-ui</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
`

const aptGet = (args: ReadonlyArray<string>, cwd: string): string =>
  execFileSync("apt-get", args, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 240_000
  })

/** The packages that an installation would bring: those that the system lacks. */
const missingPackages = (cwd: string): ReadonlyArray<string> =>
  [
    ...aptGet(["install", "-s", "--no-install-recommends", "chromium", "fonts-dejavu-core"], cwd).matchAll(
      /^Inst (\S+) .*?\((\S+) /gm
    )
  ].map(([, name = "", version = ""]) => `${name}=${version}`)

const fetchDebianPackages = (): Chromium | undefined => {
  if (onPath("apt-get") === undefined || onPath("dpkg-deb") === undefined) return undefined
  console.warn(
    `no chromium is installed: fetching Debian's packages of it into ${cache} (the system stays as it is)`
  )
  mkdirSync(cache, { recursive: true })
  const work = mkdtempSync(join(cache, "fetching-"))
  try {
    // Fresh machines have no lists of packages yet, and only root may fetch them.
    if (process.getuid?.() === 0) aptGet(["update", "-q"], work)
    aptGet(["download", ...missingPackages(work)], work)
    const root = join(work, "unpacked")
    for (const archive of readdirSync(work).filter((entry) => entry.endsWith(".deb")))
      execFileSync("dpkg-deb", ["-x", join(work, archive), root])
    writeFileSync(join(cache, "fonts.conf"), fontsOf(cache))
    // Complete, or not there.
    for (const entry of readdirSync(root))
      if (!existsSync(join(cache, entry))) renameSync(join(root, entry), join(cache, entry))
    return unpacked()
  } catch (error) {
    console.warn(`Debian's packages of chromium could not be fetched: ${String(error)}`)
    return undefined
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

const advice = `Browser tests need a Chromium, and none was found. Install it with
  Debian  sudo apt-get install chromium
  macOS   brew install --cask chromium
or name the program of one in CHRONICLE_CHROMIUM.`

export const findChromium = (): Chromium => {
  const named = process.env.CHRONICLE_CHROMIUM
  if (named !== undefined) {
    if (isProgram(named)) return { executablePath: named, env: {} }
    throw new Error(`CHRONICLE_CHROMIUM names ${named}, which is no program`)
  }
  const installed = names.map(onPath).find((path) => path !== undefined)
  if (installed !== undefined) return { executablePath: installed, env: {} }
  const found = unpacked() ?? fetchDebianPackages()
  if (found === undefined) throw new Error(advice)
  return found
}
