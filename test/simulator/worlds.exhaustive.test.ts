/** Two hundred simulated worlds: no invariant breaks, the rare paths are reached, and the same seed takes the same steps twice. */
import { assert, describe, it } from "@effect/vitest"
import { judge } from "./Judge.ts"
import { Counts } from "./Outside.ts"
import { planOf } from "./Plan.ts"
import { common } from "./Reached.ts"
import { lineOf } from "./Shrink.ts"
import { live } from "./World.ts"

const batch = 10
const batches = Array.from({ length: 20 }, (_, index) => index * batch + 1)
/** Of so many seeds one is lived twice. */
const twice = 5

describe("two hundred worlds", () => {
  const reached = new Counts()

  it.each(batches)(
    "keep every invariant, and take the same steps for the same seed (ten seeds from %i)",
    (first) => {
      for (let seed = first; seed < first + batch; seed++) {
        const history = live(planOf(seed))
        if (seed % twice === 0) {
          const again = live(planOf(seed))
          assert.strictEqual(again.hash, history.hash, `seed ${seed}`)
          assert.strictEqual(again.steps, history.steps, `seed ${seed}`)
        }
        assert.deepStrictEqual(judge(history), [], lineOf(seed, {}))
        for (const [what, times] of history.counts.all) reached.add(what, times)
      }
    }
  )

  it.each(common)("reach: %s", (what) => {
    assert.isAtLeast(reached.all.get(what) ?? 0, 1)
  })
})
