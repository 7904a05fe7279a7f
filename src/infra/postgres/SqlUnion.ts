/** A query about one key enters; the text of the same query about up to sixteen keys at once leaves. */

/** Keys of one statement. More make the plan slow to build, fewer cost more round trips. */
const branchesMax = 16

/** Statements of one question that run at once; the pool (`storeReaders`) has room for others beside them. */
export const statementsAtOnce = 6

/** Pieces of at most `branchesMax`. */
export const chunksOf = <A>(items: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(items.length / branchesMax) }, (_, index) =>
    items.slice(index * branchesMax, (index + 1) * branchesMax)
  )

/**
 * `SELECT … UNION ALL SELECT …`: each branch is a range scan of its own on both engines, which a join is not.
 * The parameters are first the `shared` ones, `$1` …, then `width` of each branch in turn; `branch` is told the
 * number of its first. At most sixteen texts are made, one a number of branches, so they stay prepared.
 */
export const unionOf = (parts: {
  readonly shared: number
  readonly width: number
  readonly branch: (first: number) => string
  readonly tail: string
}): ((branches: number) => string) => {
  const texts = Array.from({ length: branchesMax }, (_, last) => {
    const branches = Array.from(
      { length: last + 1 },
      (_, index) => `(${parts.branch(parts.shared + parts.width * index + 1)})`
    )
    return `SELECT * FROM (${branches.join(" UNION ALL ")}) AS found ${parts.tail}`
  })
  return (branches) => texts[branches - 1] ?? ""
}
