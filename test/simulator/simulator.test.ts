/** The simulator itself: that a seed decides everything, that the judge sees what it is there for, and that failing plans shrink. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { judge } from "./Judge.ts"
import { Domain, Kernel, trapped } from "./Kernel.ts"
import { mutated, mutations } from "./mutations.ts"
import { Counts } from "./Outside.ts"
import { planOf } from "./Plan.ts"
import { keep, lineOf, parseNoise, parseNumbers } from "./Shrink.ts"
import { type History, live } from "./World.ts"

const batch = 10
const batches = Array.from({ length: 20 }, (_, index) => index * batch + 1)

describe("two hundred worlds", () => {
  const reached = new Counts()

  it.each(batches)(
    "take the same steps for the same seed, and keep every invariant (ten seeds from %i)",
    (first) => {
      for (let seed = first; seed < first + batch; seed++) {
        const history = live(planOf(seed))
        const again = live(planOf(seed))
        assert.strictEqual(again.hash, history.hash, `seed ${seed}`)
        assert.strictEqual(again.steps, history.steps, `seed ${seed}`)
        assert.deepStrictEqual(judge(history), [], lineOf(seed, {}))
        for (const [what, times] of history.counts.all) reached.add(what, times)
      }
    }
  )

  /** What each of them found is said in its name. */
  it.each([
    [648, "a diverged account whose reload was written without an answer is released"],
    [1032, "a forged balance is no proof that a version was known"]
  ])("keep every invariant where one was broken before: seed %i, %s", (seed) => {
    assert.deepStrictEqual(judge(live(planOf(seed))), [])
  })

  it.each([
    "commit Conflict",
    "path fence",
    "path account leased",
    "path shard moved",
    "path shard seized",
    "path shard lost while frozen",
    "path singleton moved",
    "path reload of a diverged row",
    "path chained batch",
    "answer Replayed",
    "answer CommandIdReused",
    "answer Indeterminate",
    "answer InsufficientFunds",
    "question asOf answered",
    "question trialAt answered",
    "question strong answered",
    "fault crash",
    "fault freeze",
    "fault stall",
    "fault clockStep",
    "fault commitLandsLate"
  ])("reach: %s", (what) => {
    assert.isAtLeast(reached.all.get(what) ?? 0, 1)
  })
})

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

  it("sees a gap in a subscription", () => {
    const index = history.events.findIndex(({ version }) => version === 2)
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
  const one = { name: "one", file: "a.ts", from: "b", to: "c" }

  it("replaces its text", () => {
    assert.strictEqual(mutated("abd", one), "acd")
  })

  it.each(["ad", "abdb"])("is refused where its text is not there exactly once: %s", (text) => {
    assert.throws(() => mutated(text, one), /exactly once/)
  })

  it("has a name of its own", () => {
    assert.strictEqual(new Set(mutations.map(({ name }) => name)).size, mutations.length)
  })
})
