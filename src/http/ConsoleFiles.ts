/**
 * `GET /console`: the auditor's console, a page with one script and one style sheet. The files need no token and say nothing of the
 * ledger: what the page shows it asks of the API with the token of its user.
 *
 * The package brings the files along. A node of a working copy bundles them when they are first asked for, into its memory, so that
 * nothing that was built has to be kept beside the sources.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { gzipSync } from "node:zlib"
import { type Cause, Effect, Layer, Option } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"

/** The package: `src/http` and `dist/http` are equally deep in it. */
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..")
const built = join(root, "dist", "console")
const isWorkingCopy = import.meta.url.endsWith(".ts") && existsSync(join(root, "node_modules", "rolldown"))

interface Bundler {
  readonly bundleConsole: () => Promise<ReadonlyMap<string, string>>
}

const bundled = Effect.tryPromise(() =>
  // By its path, for the package does not contain it.
  import(pathToFileURL(join(root, "scripts", "bundleConsole.ts")).href).then(({ bundleConsole }: Bundler) =>
    bundleConsole()
  )
)

const readBuilt = Effect.try({
  try: (): ReadonlyMap<string, string> =>
    new Map(readdirSync(built).map((name) => [name, readFileSync(join(built, name), "utf8")])),
  catch: (cause) => cause
})

const types: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml"
}

interface File {
  readonly body: Uint8Array
  readonly compressed: Uint8Array
  readonly headers: Readonly<Record<string, string>>
}

/** Nothing but the node itself: no script in the page, no code that is made of text, no frame around it. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'"
].join("; ")

const pageName = "index.html"

const fileOf = (name: string, text: string): File => ({
  body: Buffer.from(text),
  compressed: gzipSync(text, { level: 9 }),
  headers: {
    "content-type": types[name.slice(name.lastIndexOf(".") + 1)] ?? "application/octet-stream",
    // The others have names that change with their contents.
    "cache-control": name === pageName ? "no-cache" : "public, max-age=31536000, immutable",
    vary: "accept-encoding",
    ...(name === pageName ? { "content-security-policy": policy } : {})
  }
})

const toFiles = (texts: ReadonlyMap<string, string>): ReadonlyMap<string, File> =>
  new Map([...texts].map(([name, text]) => [name, fileOf(name, text)]))

const notBuilt = HttpServerResponse.text(
  "The console is not built here: `npm run build` builds it. The API is described at /docs.\n",
  { status: 404 }
)

/** A coding with the weight 0 is refused (RFC 9110, 12.5.3). */
const gzipTaken = /(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[\d.]+\s*)?(?:,|$)/i

const send = (
  { body, compressed, headers }: File,
  { headers: asked }: HttpServerRequest.HttpServerRequest
): HttpServerResponse.HttpServerResponse =>
  gzipTaken.test(asked["accept-encoding"] ?? "")
    ? HttpServerResponse.uint8Array(compressed, { headers: { ...headers, "content-encoding": "gzip" } })
    : HttpServerResponse.uint8Array(body, { headers })

type Read = Effect.Effect<ReadonlyMap<string, string>, unknown>

/**
 * What was read once is kept. What could not be read, as where no file can be opened just now, is read by the next request; the log says
 * that once.
 */
const keepRead = Effect.fnUntraced(function* (read: Read) {
  let isTold = false
  const tell = (cause: Cause.Cause<unknown>) =>
    Effect.suspend(() => {
      if (isTold) return Effect.void
      isTold = true
      return Effect.logWarning("the console is not served", cause)
    })
  const [files, forget] = yield* read.pipe(
    Effect.map((texts) => Option.some(toFiles(texts))),
    Effect.catchCause((cause) => Effect.as(tell(cause), Option.none())),
    Effect.cachedInvalidateWithTTL(Number.POSITIVE_INFINITY)
  )
  return Effect.tap(files, (found) => (Option.isNone(found) ? forget : Effect.void))
})

/** Of the files that `read` gives. Every path but that of a file is a view, which the page itself reads from its URL. */
export const routesOf = (read: Read) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const files = yield* keepRead(read)
      const answer = (nameOf: (url: string) => string) =>
        Effect.gen(function* () {
          const request = yield* HttpServerRequest.HttpServerRequest
          const found = yield* files
          if (Option.isNone(found)) return notBuilt
          const file = found.value.get(nameOf(request.url))
          return file === undefined ? HttpServerResponse.empty({ status: 404 }) : send(file, request)
        })
      const page = answer(() => pageName)
      return Layer.mergeAll(
        // Also for `/console` itself.
        HttpRouter.add("GET", "/console/*", page),
        HttpRouter.add(
          "GET",
          "/console/files/*",
          answer((url) => url.split("?")[0]?.split("/").at(-1) ?? "")
        )
      )
    })
  )

export const routes = routesOf(isWorkingCopy ? bundled : readBuilt)
