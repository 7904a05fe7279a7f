/** One browser for a test file, and pages of it that tell what they asked for and what went wrong in them. */
import { Context, Effect, Layer } from "effect"
import { chromium, type Page, type Browser as PlaywrightBrowser } from "playwright-core"
import { findChromium } from "./chromium.ts"

export interface Watched {
  readonly page: Page
  /** Origins of everything that was asked for. */
  readonly origins: Set<string>
  /** Errors of scripts, and what the policy of contents forbade. */
  readonly faults: Array<string>
}

/** Told by the browser of answers that a test provokes. */
const isExpected = (text: string): boolean => /^Failed to load resource: /.test(text)

export class Browser extends Context.Service<
  Browser,
  { readonly open: (size?: { readonly width: number; readonly height: number }) => Promise<Watched> }
>()("chronicle/test/Browser") {
  static readonly layer = Layer.effect(
    Browser,
    Effect.gen(function* () {
      const browser: PlaywrightBrowser = yield* Effect.acquireRelease(
        Effect.promise(() => {
          const { executablePath, env } = findChromium()
          return chromium.launch({ executablePath, env: { ...stringsOf(process.env), ...env } })
        }),
        (launched) => Effect.promise(() => launched.close())
      )
      return {
        open: async (viewport = { width: 1_280, height: 800 }) => {
          const context = await browser.newContext({ viewport })
          const page = await context.newPage()
          const watched: Watched = { page, origins: new Set(), faults: [] }
          page.on("request", (request) => watched.origins.add(new URL(request.url()).origin))
          page.on("pageerror", (error) => watched.faults.push(error.message))
          page.on("console", (message) => {
            if (message.type() === "error" && !isExpected(message.text())) watched.faults.push(message.text())
          })
          return watched
        }
      }
    })
  )
}

const stringsOf = (env: NodeJS.ProcessEnv): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))
  )
