/** The simulator itself: that the judge sees what it is there for, and that failing plans shrink. */
import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { judge } from "./Judge.ts"
import { Domain, Kernel, trapped } from "./Kernel.ts"
import { mutated, mutations, replacementsOf } from "./mutations.ts"
import { planOf } from "./Plan.ts"
import { keep, lineOf, parseNoise, parseNumbers } from "./Shrink.ts"
import { type History, isReceipt, live } from "./World.ts"

describe("the judge", () => {
  const history = live(planOf(6))

  const changed = (change: Partial<History>): ReadonlyArray<string> => judge({ ...history, ...change })

  it("finds nothing in a right history", () => {
    assert.deepStrictEqual(judge(history), [])
  })

  it.each(["strong", "weak", "asOf"] as const)("sees a wrong %s balance", (kind) => {
    const [right] = history.seen.filter((one) => one.view !== undefined)
    if (right?.view === undefined) throw new Error("the world has a balance")
    const wrong = {
      ...right,
      kind,
      instant: right.instant ?? 0,
      view: { ...right.view, balance: right.view.balance + 1n }
    }
    assert.lengthOf(changed({ seen: [wrong] }), 1)
  })

  it("sees a refusal that no state of the account allows", () => {
    const [accepted] = history.sendings
    if (accepted === undefined) throw new Error("the world has a sending")
    const refused = {
      ...accepted,
      input: { ...accepted.input, commandId: "never-sent" },
      start: history.steps,
      end: history.steps,
      answer: { _tag: "AccountNotFound", account: "acc-0" }
    }
    assert.lengthOf(changed({ sendings: [...history.sendings, refused] }), 1)
  })

  it("sees a balance that leaves out what is held", () => {
    const [right] = history.seen.filter((one) => one.view !== undefined)
    if (right?.view === undefined) throw new Error("the world has a balance")
    const wrong = { ...right, view: { ...right.view, held: 1n } }
    assert.lengthOf(changed({ seen: [wrong] }), 1)
  })

  it("sees a receipt that binds another balance", () => {
    const index = history.sendings.findIndex(({ answer }) => answer !== undefined && isReceipt(answer))
    const right = history.sendings[index]
    if (right?.answer === undefined || !isReceipt(right.answer)) throw new Error("the world has a receipt")
    const [posting, ...others] = right.answer.postings
    if (posting?.balance === undefined) throw new Error("a receipt has a balance")
    const postings = [{ ...posting, balance: posting.balance + 1n }, ...others]
    const wrong = { ...right, answer: { ...right.answer, postings } }
    assert.lengthOf(changed({ sendings: history.sendings.with(index, wrong) }), 1)
  })

  it("sees that something else landed than was asked for", () => {
    const index = history.sendings.findIndex(
      ({ answer, input }) => input._tag === "Deposit" && answer !== undefined && isReceipt(answer)
    )
    const right = history.sendings[index]
    if (right?.input._tag !== "Deposit") throw new Error("the world has a deposit")
    const { commandId, amount } = right.input
    const sendings = history.sendings.map((one) =>
      one.input.commandId === commandId && one.input._tag === "Deposit"
        ? { ...one, input: { ...one.input, amount: amount + 1n } }
        : one
    )
    const effects = changed({ sendings }).filter((found) => found.startsWith("effect:"))
    assert.deepEqual(effects, [`effect: ${commandId} did Deposited, which is not what it asks for`])
  })

  it("sees a command that is not found, though a caller had its receipt", () => {
    const [accepted] = history.sendings.filter(({ answer }) => answer !== undefined && isReceipt(answer))
    if (accepted === undefined) throw new Error("the world has a receipt")
    const missing = {
      ...accepted,
      command: accepted.input.commandId,
      start: accepted.end + 1,
      end: accepted.end + 2,
      view: undefined
    }
    assert.lengthOf(changed({ found: [missing] }), 1)
  })

  it("sees a gap in a subscription", () => {
    const later = history.events.find(({ version }) => version === 3)
    const index = history.events.findIndex(
      ({ account, version }) => account === later?.account && version === 2
    )
    assert.isAtLeast(index, 0)
    const told = history.events.filter(
      ({ account, version }) => account !== history.events[index]?.account || version !== 2
    )
    assert.isAtLeast(changed({ events: told }).length, 1)
  })
})

describe("a world", () => {
  it("lets no program read the machine's clock", () => {
    const domain = new Domain(new Kernel(1, "oldest", 0), "one", 1)
    const read = domain.fork(Effect.sync(() => trapped(() => Date.now())))
    assert.include(String(read.pollUnsafe()), "Date.now was used in a simulated world")
  })
})

describe("a smaller plan", () => {
  it("is what its command line says", () => {
    const plan = planOf(3)
    const kept = { commands: [0, 1, 2, 5], faults: [0], noise: [] }
    assert.strictEqual(
      lineOf(3, kept),
      "npm run simulate -- --seed 3 --commands 0-2,5 --faults 0 --noise none"
    )
    assert.deepStrictEqual(parseNumbers("0-2,5"), kept.commands)
    assert.deepStrictEqual(parseNoise("none"), [])
    const small = keep(plan, kept)
    assert.lengthOf(small.steps, 4)
    assert.lengthOf(small.disruptions, 1)
    assert.deepStrictEqual(small.noise, {})
  })
})

describe("a mutation", () => {
  const one = { file: "a.ts", from: "b", to: "c" }

  it("replaces its text", () => {
    assert.strictEqual(mutated("abd", one), "acd")
  })

  it.each(["ad", "abdb"])("is refused where its text is not there exactly once: %s", (text) => {
    assert.throws(() => mutated(text, one), /exactly once/)
  })

  it.each(mutations)("has its text in the program: $name", (mutation) => {
    for (const replacement of replacementsOf(mutation)) {
      const text = readFileSync(new URL(`../../${replacement.file}`, import.meta.url), "utf8")
      assert.notStrictEqual(mutated(text, replacement), text)
    }
  })

  it("has a name of its own", () => {
    assert.strictEqual(new Set(mutations.map(({ name }) => name)).size, mutations.length)
  })
})
