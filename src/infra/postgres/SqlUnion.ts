/**
 * One statement about many keys, made of one branch a key. Each branch is a range scan of an index on both engines,
 * which a join is not.
 */

/** Branches of one text. More make the plan slow to build, fewer cost more round trips. */
const branchesMax = 16

/** Statements of one question that run at once; the pool (`storeReaders`) has room for others beside them. */
export const statementsAtOnce = 6

/** Pieces of at most `branchesMax`. */
export const chunksOf = <A>(items: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(items.length / branchesMax) }, (_, index) =>
    items.slice(index * branchesMax, (index + 1) * branchesMax)
  )

interface UnionParts {
  /** Parameters before those of the branches. */
  readonly shared: number
  /** Parameters of each branch. */
  readonly width: number
  /** A branch, told the number of its first parameter. */
  readonly branch: (first: number) => string
  /** The statement around the branches. */
  readonly frame: (union: string) => string
}

const textOf = ({ shared, width, branch, frame }: UnionParts, branches: number): string =>
  frame(
    Array.from({ length: branches }, (_, index) => `(${branch(shared + width * index + 1)})`).join(
      " UNION ALL "
    )
  )

/**
 * `SELECT … UNION ALL SELECT …` of 1 to `branchesMax` branches. At most sixteen texts are made, one a number of
 * branches, so they stay prepared.
 */
export const unionOf = (parts: UnionParts): ((branches: number) => string) => {
  const texts = Array.from({ length: branchesMax }, (_, last) => textOf(parts, last + 1))
  return (branches) => texts[branches - 1] ?? ""
}

/**
 * The same in one statement however many keys there are, for what has to be read of one moment. The branches are filled
 * up to a multiple of `branchesMax` with `filler`, parameters of a branch that finds nothing, so that few texts are made.
 */
export const wholeUnionOf = (
  parts: UnionParts,
  filler: ReadonlyArray<unknown>
): ((keys: ReadonlyArray<ReadonlyArray<unknown>>) => readonly [string, ReadonlyArray<unknown>]) => {
  const texts = new Map<number, string>()
  return (keys) => {
    const branches = branchesMax * Math.max(1, Math.ceil(keys.length / branchesMax))
    const text = texts.get(branches) ?? textOf(parts, branches)
    texts.set(branches, text)
    const fillers = Array.from({ length: branches - keys.length }, () => filler)
    return [text, [...keys, ...fillers].flat()]
  }
}
