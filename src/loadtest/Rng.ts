/** Random numbers of a seed, uniform or skewed by Zipf's law, so that a load can be repeated. */
import { Effect, Random } from "effect"

/** The random numbers of one seed. Synchronous, because drawing a command needs several. */
export interface Rng {
  /** 0 ≤ x < 1 */
  readonly unit: () => number
  /** 0 … below - 1 */
  readonly below: (below: number) => number
  /** True with the given probability. */
  readonly chance: (probability: number) => boolean
}

export const makeRng = (seed: number | string): Effect.Effect<Rng> =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const unit = () => random.nextDoubleUnsafe()
    return {
      unit,
      below: (below: number) => Math.floor(unit() * below),
      chance: (probability: number) => unit() < probability
    }
  }).pipe(Random.withSeed(seed))

/**
 * Ranks 0 … size - 1, rank k with a probability proportional to 1 / (k + 1)^exponent, in constant time and
 * memory: rejection-inversion after Hörmann and Derflinger, "Rejection-inversion to generate variates from
 * monotone discrete distributions" (1996), in the form that Apache Commons RNG uses.
 */
export const makeZipf = (rng: Rng, size: number, exponent: number): (() => number) => {
  // (e^x - 1) / x and ln(1 + x) / x, with their limits at 0
  const growth = (x: number) => (Math.abs(x) > 1e-8 ? Math.expm1(x) / x : 1 + x / 2)
  const shrink = (x: number) => (Math.abs(x) > 1e-8 ? Math.log1p(x) / x : 1 - x / 2)
  const weight = (x: number) => Math.exp(-exponent * Math.log(x))
  const integral = (x: number) => growth((1 - exponent) * Math.log(x)) * Math.log(x)
  const inverse = (y: number) => Math.exp(shrink(Math.max(y * (1 - exponent), -1)) * y)
  const first = integral(1.5) - 1
  const last = integral(size + 0.5)
  const margin = 2 - inverse(integral(2.5) - weight(2))
  return () => {
    for (;;) {
      const y = last + rng.unit() * (first - last)
      const x = inverse(y)
      const k = Math.min(Math.max(Math.round(x), 1), size)
      if (k - x <= margin || y >= integral(k + 0.5) - weight(k)) return k - 1
    }
  }
}
