/**
 * The console in a browser: every view, light and dark, on a narrow and a wide screen, by keyboard alone, held against axe. Screenshots are
 * kept in `.artefacts/console`, to be looked at.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { resolve } from "node:path"
import { assert, it, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import type { Locator, Page } from "playwright-core"
import { count } from "../../src/console/format.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import { Browser, type Watched } from "../support/browser.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { consoleLayer, hostile, seed } from "../support/consoleWorld.ts"
import { ownPort } from "../support/ports.ts"

/** Two nodes over one ledger with data: one that asks for no token, and one that does. */
class Nodes extends Context.Service<Nodes, { readonly open: string; readonly guarded: string }>()(
  "chronicle/test/Nodes"
) {
  static readonly layer = Layer.effect(
    Nodes,
    Effect.gen(function* () {
      const [open, guarded] = [yield* ownPort, yield* ownPort]
      yield* Layer.build(Layer.fresh(consoleLayer(open)))
      yield* Layer.build(Layer.fresh(consoleLayer(guarded, [token("auditor", ["read"])])))
      yield* seed
      return { open: `http://127.0.0.1:${open}`, guarded: `http://127.0.0.1:${guarded}` }
    })
  )
}

const artefacts = ".artefacts/console"
mkdirSync(artefacts, { recursive: true })

const axePath = createRequire(import.meta.url).resolve("axe-core/axe.min.js")
const axe = readFileSync(axePath, "utf8")

/** One page with axe for all views, each loaded into it anew: a page of its own would load every file again. */
class Gallery extends Context.Service<Gallery, Watched>()("chronicle/test/Gallery") {
  static readonly layer = Layer.effect(
    Gallery,
    Effect.gen(function* () {
      const browser = yield* Browser
      const watched = yield* Effect.promise(() => browser.open())
      yield* Effect.promise(() => watched.page.addInitScript({ path: axePath }))
      return watched
    })
  )
}

const world = Gallery.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(Nodes.layer, Browser.layer)),
  Layer.provideMerge(memoryLedger)
)

interface AxeResult {
  readonly violations: ReadonlyArray<{
    readonly id: string
    readonly impact: string | null
    readonly nodes: ReadonlyArray<{ readonly html: string; readonly failureSummary?: string }>
  }>
}

/** The faults that axe calls serious or critical. By the debugger, which the page's policy of contents does not bind. */
const seriousFaults = async (page: Page): Promise<ReadonlyArray<string>> => {
  const { violations } = await page.evaluate<AxeResult>("axe.run(document, { resultTypes: ['violations'] })")
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary ?? ""}`)
    )
}

/** Waits until nothing is asked for any more. */
const settle = async (page: Page) => {
  await page.locator("h1").first().waitFor()
  await page.waitForSelector(".loading, .busy, .asking", { state: "detached" })
}

const show = async (page: Page, url: string) => {
  await page.goto(url)
  await settle(page)
}

/** As it is seen. */
const seen = async (locator: Locator): Promise<string> => (await locator.allInnerTexts()).join("\n")
const textOf = (page: Page) => seen(page.locator("main"))

/** Each view with something that it must show. */
const views: ReadonlyArray<readonly [name: string, path: string, shows: RegExp]> = [
  ["home", "/console", /Trial balance[\s\S]*USD\/2[\s\S]*keeps up/],
  ["search", "/console/search?q=customer:", /customer:alice[\s\S]*customer:bob[\s\S]*customer:emil/],
  ["search-nothing", "/console/search?q=nonesuch", /Nothing is known under nonesuch/],
  ["search-contras", "/console/search?q=external:", /external:bank[\s\S]*external:card/],
  [
    "account",
    "/console/accounts/customer:alice",
    /Balance[\s\S]*Held\s*52\.00[\s\S]*Open holds[\s\S]*Statement/
  ],
  [
    "account-effective",
    "/console/accounts/customer:alice?axis=effective",
    /by effective time[\s\S]*refund-late/
  ],
  ["account-hostile", "/console/accounts/hostile", /1\u202f233\u202f572[\s\S]*\\u\{202e\}/],
  ["account-long", "/console/accounts/long", /one version in 20[\s\S]*the last lines[\s\S]*\n1201\b/],
  [
    "account-long-effective",
    "/console/accounts/long?axis=effective",
    /by effective time[\s\S]*the first 1\u202f000 lines alone/i
  ],
  ["account-missing", "/console/accounts/customer:zoe", /Account not found/],
  // Nothing of the present under an instant at which there was no such account.
  [
    "account-before",
    "/console/accounts/customer:alice?known=2001-01-01T00:00:00Z",
    /^(?![\s\S]*(Open holds|Overdraft limit|hold-taxi))[\s\S]*Account not found[\s\S]*Timeline/i
  ],
  ["account-large", "/console/accounts/large", /999\.9{18}/],
  ["transaction", "/console/transactions/order-4711", /reversed by ~r1~order-4711[\s\S]*shop-backend/],
  ["transaction-fx", "/console/transactions/fx-1", /USD\/2 sums to 0\.00[\s\S]*EUR\/2 sums to 0\.00/],
  [
    "transaction-reversal",
    "/console/transactions/~r1~order-4711",
    /reversal 1 gives back order-4711[\s\S]*credit note 12[\s\S]*Reason\s+dessert was not served/
  ],
  ["transaction-hostile", "/console/transactions/hostile-deposit", /<img src=x onerror/],
  ["holds", "/console/holds?account=customer:alice", /hold-taxi[\s\S]*hold-hotel[\s\S]*hold-forever/],
  ["holds-all", "/console/holds", /never expire[\s\S]*hold-taxi[\s\S]*hold-hotel/],
  ["holds-none", "/console/holds?prefix=merchant:", /No open hold expires like this/],
  ["books", "/console/books", /merchant:…\s+4\s[\s\S]*external:bank/],
  [
    "books-prefix",
    "/console/books?prefix=merchant:",
    /merchant:books:…[\s\S]*merchant:coffee\s+\d\u202f\d{3}\.\d\d\s*USD[\s\S]*merchant:coffee:…[\s\S]*888\u202f888/
  ],
  ["operations", "/console/operations", /Throughput[\s\S]*books_v1[\s\S]*No account is parked[\s\S]*1 of 1/],
  ["unknown", "/console/nonsense", /no view at this address/]
]
/** Each scheme and each width is held against axe once, and has a screenshot: half as much work as every pair of them. */
const looks = [
  [1_280, "light", true],
  [1_280, "dark", false],
  [375, "light", false],
  [375, "dark", true]
] as const

const look = async (page: Page, width: number, colorScheme: "light" | "dark") => {
  await page.setViewportSize({ width, height: 800 })
  await page.emulateMedia({ colorScheme })
}

layer(world, { excludeTestServices: true })("the console", (it) => {
  it.effect.each(views)(
    "shows %s whole, light and dark, narrow and wide, without a serious fault",
    ([name, path, shows]) =>
      Effect.gen(function* () {
        const { open } = yield* Nodes
        const { page, origins, faults } = yield* Gallery
        yield* Effect.promise(async () => {
          origins.clear()
          faults.length = 0
          await look(page, 1_280, "light")
          await show(page, open + path)
          assert.match(await textOf(page), shows)
          for (const [width, colorScheme, isLookedAt] of looks) {
            await look(page, width, colorScheme)
            const overflow = await page.evaluate<number>("document.documentElement.scrollWidth - innerWidth")
            assert.isAtMost(overflow, 0, `${width} px`)
            // An amount of many digits has squeezed the badge and the asset beside it to a letter a line.
            const squeezed = await page.evaluate<ReadonlyArray<string>>(
              "[...document.querySelectorAll('td .badge, td .asset')].filter((one) => one.offsetHeight > 40).map((one) => one.innerText)"
            )
            assert.deepEqual(squeezed, [], `${width} px`)
            if (!isLookedAt) continue
            assert.deepEqual(await seriousFaults(page), [], `${width} px, ${colorScheme}`)
            await page.screenshot({ path: `${artefacts}/${name}-${width}-${colorScheme}.png` })
          }
          assert.deepEqual([...origins], [open])
          assert.deepEqual(faults, [])
        })
      })
  )

  it.effect("runs nothing that others wrote, and shows what would not be seen", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page, faults } = await browser.open({ width: 375, height: 800 })
        for (const path of [
          "/console/accounts/hostile?from=1970-01-01",
          "/console/transactions/hostile-deposit"
        ]) {
          await show(page, open + path)
          for (const summary of await page.locator("summary").all()) await summary.click()
          const text = await textOf(page)
          assert.include(text, "<script>document.title='harmed'</script>")
          assert.include(text, String.raw`\u{202e}00.01\u{202c} paid\x07`)
          assert.notMatch(text, /[\u202a-\u202e\u2066-\u2069]/)
          assert.strictEqual(await page.locator("main img, main script, main iframe").count(), 0)
          assert.strictEqual(await page.locator(`a[href^="javascript:"]`).count(), 0)
          assert.notInclude(await page.title(), "harmed")
        }
        await show(page, `${open}/console/search?q=${encodeURIComponent(hostile.markup)}`)
        assert.include(await textOf(page), hostile.markup)
        assert.deepEqual(faults, [])
        await page.context().close()
      })
    })
  )

  it.effect("is used by keyboard alone, from a search to a leg, its account and a past of it", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        const focused = () => page.evaluate<string>("document.activeElement?.textContent ?? ''")
        const tabTo = async (text: string) => {
          for (let presses = 0; presses < 60; presses++) {
            await page.keyboard.press("Tab")
            if ((await focused()) === text) return
          }
          assert.fail(`no way by Tab to ${text}`)
        }
        await show(page, `${open}/console`)
        await page.keyboard.press("/")
        const longest = `~x~${"a".repeat(64)}~${"x".repeat(128)}~999`
        await page.keyboard.insertText(longest)
        assert.strictEqual(await page.getByRole("searchbox").inputValue(), longest)
        await page.getByRole("searchbox").fill("")
        await page.keyboard.type("order-4711")
        await page.keyboard.press("Enter")
        await page.waitForURL(/\/transactions\/order-4711$/)
        await settle(page)
        assert.strictEqual(await focused(), "order-4711", "the heading of the new view has the focus")
        await tabTo("customer:alice")
        await page.keyboard.press("Enter")
        await page.waitForURL(/\/accounts\/customer:alice$/)
        await settle(page)
        const now = await seen(page.locator(".figures"))
        await page.locator("input[type=range]").focus()
        await page.keyboard.press("Home")
        await page.waitForURL(/known=/)
        await settle(page)
        const past = await seen(page.locator(".figures"))
        assert.match(past, /Balance\s*0\.00[\s\S]*As it was\s*version 1/i)
        await tabTo("Back to now")
        await page.keyboard.press("Enter")
        await page.waitForURL((url) => !url.search.includes("known"))
        await settle(page)
        assert.strictEqual(await seen(page.locator(".figures")), now)
        await page.context().close()
      })
    })
  )

  it.effect("shows a view again from its URL, and the one before on the way back", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        await show(page, `${open}/console/accounts/customer:alice`)
        await page.getByLabel("Type").selectOption("Deposited")
        await page.getByLabel("Counterparty").fill("external:bank")
        await page.getByRole("button", { name: "Show" }).click()
        await page.waitForURL(/types=Deposited.*counterparty=external/)
        await settle(page)
        const lines = page.getByRole("table", { name: "Statement" })
        const filtered = await seen(lines)
        assert.match(filtered, /Deposited/)
        assert.notMatch(filtered, /Transfer/)
        const other = await browser.open()
        await show(other.page, page.url())
        assert.strictEqual(await seen(other.page.getByRole("table", { name: "Statement" })), filtered)
        await page.goBack()
        await settle(page)
        assert.match(await seen(lines), /Transfer sent/)
        for (const one of [page, other.page]) await one.context().close()
      })
    })
  )

  it.effect("shows no figure of the question before as one of the next", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        const passed: Array<() => void> = []
        const api = /\/v1\//
        // Until `pass`.
        const holdAnswersBack = () =>
          page.route(api, async (route) => {
            await new Promise<void>((resolve) => passed.push(resolve))
            await route.continue().catch(() => {}) // the page may ask for it no more
          })
        const pass = async () => {
          await page.unroute(api)
          for (const one of passed.splice(0)) one()
          await settle(page)
        }
        // How much there is of it, and how much that is not marked as kept.
        const counted = async (of: string) => [
          await page.locator(of).count(),
          await page.locator(`:not([aria-busy=true] *, [aria-busy=true])${of}`).count()
        ]
        const askedFor = async (go: () => Promise<unknown>, url: RegExp | ((next: URL) => boolean)) => {
          await holdAnswersBack()
          await go()
          await page.waitForURL(url)
          for (const since = Date.now(); passed.length === 0; await page.waitForTimeout(20))
            assert.isBelow(Date.now() - since, 60_000, "nothing was asked")
        }

        await show(page, `${open}/console/books?prefix=merchant:`)
        assert.deepEqual(await counted(".whole .amount"), [2, 2])
        await askedFor(() => page.getByRole("link", { name: "merchant:books:…" }).click(), /merchant:books:/)
        assert.deepEqual(await counted(".whole .amount"), [0, 0])
        await pass()
        assert.deepEqual(await counted(".whole .amount"), [1, 1])

        await show(page, `${open}/console/books`)
        const trial = "section[aria-label='Trial balance'] .amount"
        assert.isAbove((await counted(trial))[0] ?? 0, 0)
        const setKnown = async () => {
          await page.getByLabel("As recorded by").fill("2001-01-01T00:00:00Z")
          await page.getByRole("button", { name: "Show" }).click()
        }
        await askedFor(setKnown, /known=/)
        assert.deepEqual(await counted(trial), [0, 0])
        await pass()

        await show(page, `${open}/console/accounts/customer:alice?from=1970-01-01`)
        assert.deepEqual(await counted(".bounds .amount"), [2, 2])
        const setOrder = async () => {
          await page.getByLabel("Order").selectOption("effective")
          await page.getByRole("button", { name: "Show" }).click()
        }
        await askedFor(setOrder, /axis=effective/)
        for (const kept of [".bounds .amount", ".readout"]) {
          const [all, asTold] = await counted(kept)
          assert.isAbove(all ?? 0, 0, kept)
          assert.strictEqual(asTold, 0, kept)
        }
        await pass()
        assert.deepEqual(await counted(".bounds .amount"), [2, 2])

        const slide = (key: string) => async () => {
          await page.locator("input[type=range]").focus()
          await page.keyboard.press(key)
        }
        await show(page, `${open}/console/accounts/customer:alice`)
        await slide("Home")()
        await page.waitForURL(/known=/)
        await settle(page)
        const url = page.url()
        await askedFor(slide("PageUp"), (next) => next.href !== url)
        for (const kept of [".figures .amount", "section[aria-label=Details] .amount"]) {
          const [all, asTold] = await counted(kept)
          assert.isAbove(all ?? 0, 0, kept)
          assert.strictEqual(asTold, 0, kept)
        }
        await pass()
        assert.deepEqual(await counted(".figures .amount"), [3, 3])
        await page.context().close()
      })
    })
  )

  it.effect("goes through a long statement page by page", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        await show(page, `${open}/console/accounts/customer:alice?from=1970-01-01`)
        const versions = () => page.locator("table[aria-label=Statement] tbody tr").count()
        assert.strictEqual(await versions(), 50)
        await page.getByRole("link", { name: "Next lines" }).click()
        await page.waitForURL(/page=/)
        await settle(page)
        assert.strictEqual(await versions(), 49)
        await page.context().close()
      })
    })
  )

  it.effect("asks for a token where the node does, and keeps it for this tab alone", () =>
    Effect.gen(function* () {
      const { guarded } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        await page.goto(`${guarded}/console/accounts/customer:alice`)
        const field = page.getByLabel("Token", { exact: true })
        await field.waitFor()
        await page.evaluate(axe)
        assert.deepEqual(await seriousFaults(page), [])
        await field.fill("secret-nobody")
        await page.keyboard.press("Enter")
        await page.getByText("The node does not know this token.").waitFor()
        await page.getByLabel("Token", { exact: true }).fill("secret-auditor")
        await page.keyboard.press("Enter")
        await page.getByText("Open holds").waitFor()
        assert.notInclude(page.url(), "secret")
        const kept = "[Object.values(localStorage), document.cookie, Object.values(sessionStorage)]"
        assert.deepEqual(await page.evaluate<unknown>(kept), [[], "", ["secret-auditor"]])
        await page.getByRole("button", { name: "Forget token" }).click()
        await page.getByText("This node asks for a token").waitFor()
        assert.deepEqual(await page.evaluate<unknown>(kept), [[], "", []])
        await page.context().close()
      })
    })
  )

  it.effect("says that the node does not answer, and asks again", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        await page.route("**/v1/**", (route) => route.abort())
        await show(page, `${open}/console/accounts/customer:alice`)
        assert.match(await textOf(page), /No answer/)
        await page.unroute("**/v1/**")
        await page.getByRole("button", { name: "Ask again" }).click()
        await page.getByText("Open holds").waitFor()

        // Of a search three questions fail alike.
        await page.route("**/v1/**", (route) => route.abort())
        await show(page, `${open}/console/search?q=customer:a`)
        assert.strictEqual(await page.getByText("No answer").count(), 1)
        await page.unroute("**/v1/**")
        await page.getByRole("button", { name: "Ask again" }).click()
        await page.getByText("Accounts that begin so").waitFor()
        await page.context().close()
      })
    })
  )

  it.effect("tells how long holds are open by the node's clock, whatever the machine's says", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        await page.clock.install({ time: Date.now() + 400 * 86_400_000 })
        for (const path of ["/console/holds?account=customer:alice", "/console/holds"]) {
          await show(page, open + path)
          const text = await textOf(page)
          assert.match(text, /hold-taxi/)
          assert.match(text, /in \d+ min/)
          assert.notInclude(text, "expired")
        }
        await page.context().close()
      })
    })
  )

  it.effect("says what of an account and of the legs of a transaction could not be learned", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        const away = { title: "Unavailable", status: 503, detail: "event store: it is away" }
        const log = /\/events\?|version=/
        for (const [path, regions] of [
          ["/console/accounts/customer:alice", ["Timeline"]],
          ["/console/transactions/order-4711", ["Legs", "Hash chain"]]
        ] as const) {
          await page.route(log, (route) => route.fulfill({ status: 503, json: away }))
          await show(page, open + path)
          await page.unroute(log)
          for (const name of regions) {
            const region = page.getByRole("region", { name, exact: true })
            assert.include(await seen(region), "it is away", name)
            await region.getByRole("button", { name: "Ask again" }).click()
            await region.getByText("it is away").waitFor({ state: "detached" })
          }
        }
        await page.context().close()
      })
    })
  )

  it.effect("says what of a transaction and of the node it could not learn, and nothing else of it", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        const origin = page.getByRole("region", { name: "Origin" })
        const away = { title: "Unavailable", status: 503, detail: "event store: it is away" }
        await page.route("**/events?*", (route) => route.fulfill({ status: 503, json: away }))
        await show(page, `${open}/console/transactions/order-4711`)
        assert.match(await seen(origin), /Caller\s*not known[\s\S]*it is away/i)
        await page.unroute("**/events?*")
        await origin.getByRole("button", { name: "Ask again" }).click()
        await origin.getByText("shop-backend").waitFor()
        assert.notInclude(await seen(origin), "it is away")
        await page.route("**/health", async (route) => {
          const response = await route.fetch()
          const { readSide, ...others } = await response.json()
          const failing = { ...readSide, ready: false, reasons: ["a fiber of the relay fails"] }
          await route.fulfill({ response, json: { ...others, readSide: failing } })
        })
        await show(page, `${open}/console`)
        assert.match(await textOf(page), /Read side\s*not ready/i)
        await page.context().close()
      })
    })
  )

  it.effect("counts what the node does while it is looked at", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      const ledger = yield* Ledger
      const { page } = yield* Effect.promise(() => browser.open())
      yield* Effect.promise(() => show(page, `${open}/console/operations`))
      const { committed } = yield* ledger.stats
      yield* ledger.dispatch({ _tag: "Deposit", account: "customer:bob", amount: 1n })
      yield* Effect.promise(async () => {
        await page.getByText(count(committed + 1), { exact: true }).waitFor()
        await page.context().close()
      })
    })
  )

  it.effect("lists parked accounts, with the reason as text", () =>
    Effect.gen(function* () {
      const { open } = yield* Nodes
      const browser = yield* Browser
      const readModel = yield* ReadModel
      const account = "customer:emil" as AccountId // a valid one
      yield* readModel.park([{ account, version: 3, reason: `no such column ${hostile.markup}`, since: 0 }])
      yield* Effect.promise(async () => {
        const { page } = await browser.open()
        await show(page, `${open}/console/operations`)
        const parked = page.getByRole("table", { name: "Parked accounts" })
        assert.match(await seen(parked), /customer:emil[\s\S]*no such column <img src=x/)
        await page.context().close()
      })
      yield* readModel.beginRelease([account])
      yield* readModel.unpark([account])
    })
  )

  it.effect("is sent compressed, may be kept by what has a name of its own, and needs no token", () =>
    Effect.gen(function* () {
      const { guarded } = yield* Nodes
      yield* Effect.promise(async () => {
        const page = await fetch(`${guarded}/console/accounts/alice`)
        assert.strictEqual(page.status, 200)
        assert.strictEqual(page.headers.get("cache-control"), "no-cache")
        const policy = page.headers.get("content-security-policy") ?? ""
        for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"])
          assert.include(policy, part)
        assert.notInclude(policy, "unsafe")
        const html = await page.text()
        const files = [...html.matchAll(/\/console\/files\/[\w.-]+/g)].map(([path]) => path)
        assert.strictEqual(files.length, 3)
        let bytes = 0
        for (const file of files) {
          const sent = await fetch(guarded + file)
          assert.strictEqual(sent.status, 200, file)
          assert.match(sent.headers.get("cache-control") ?? "", /immutable/)
          assert.strictEqual(sent.headers.get("content-encoding"), "gzip")
          bytes += Number(sent.headers.get("content-length"))
        }
        assert.isAbove(bytes, 10_000)
        assert.isBelow(bytes, 100_000)
        for (const [coding, sent] of [
          ["br, GZIP;q=0.5, *;q=0", "gzip"],
          ["gzip;q=0, identity", null],
          ["gzip;q=0.000", null],
          ["identity", null]
        ] as const) {
          const { headers } = await fetch(`${guarded}/console`, { headers: { "accept-encoding": coding } })
          assert.strictEqual(headers.get("content-encoding"), sent, coding)
        }
        assert.strictEqual((await fetch(`${guarded}/console/files/other.js`)).status, 404)
        assert.strictEqual((await fetch(`${guarded}/console/files/..%2findex.html`)).status, 404)
      })
    })
  )
})

it("says how to get a browser where none is to be had", () => {
  const [folder, find] = [resolve(".artefacts", "none"), resolve("test", "support", "chromium.ts")]
  const { status, stderr } = spawnSync(
    process.execPath,
    ["-e", `import(${JSON.stringify(find)}).then(({ findChromium }) => findChromium())`],
    { encoding: "utf8", env: { PATH: folder, HOME: folder } }
  )
  assert.strictEqual(status, 1)
  assert.match(stderr, /Browser tests need a Chromium, and none was found[\s\S]*CHRONICLE_CHROMIUM/)
})
