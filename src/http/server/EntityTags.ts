/**
 * The entity tags of `If-Match` and `If-None-Match`, as RFC 9110 (8.8.3, 13.1) writes them. Ours are the version of an account in
 * quotes, with what is held behind it where anything is, and never weak.
 */
import { Result } from "effect"
import { InvalidCommand } from "../../domain/Errors.ts"

interface EntityTag {
  readonly isWeak: boolean
  /** Without its quotes. */
  readonly value: string
}

/** One tag with the comma behind it, or the end. Sticky, so that nothing between two tags is passed over. */
const tagPattern = /[ \t]*(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(?:,|$)/y

/** `"*"` for any version; undefined where the text is no list of tags. */
const readEntityTags = (text: string): "*" | ReadonlyArray<EntityTag> | undefined => {
  if (text.trim() === "*") return "*"
  const tags: Array<EntityTag> = []
  tagPattern.lastIndex = 0
  while (tagPattern.lastIndex < text.length) {
    const found = tagPattern.exec(text)
    if (found === null) return undefined
    tags.push({ isWeak: found[1] !== undefined, value: found[2] ?? "" })
  }
  return tags.length === 0 || text.trimEnd().endsWith(",") ? undefined : tags
}

const versionPattern = /^(0|[1-9]\d{0,15})$/
/** What holds keep back says nothing of which version a command expects. */
const heldPattern = /;held=[1-9]\d*$/

/**
 * The tag of an account's answer. A hold expires without a new version; as each that does makes what is held less, version and
 * amount together are of one answer alone.
 */
export const entityTagOf = ({ version, held = 0n }: { readonly version: number; readonly held?: bigint }) =>
  held === 0n ? String(version) : `${version};held=${held}`

const notOneVersion = (found: string) =>
  Result.fail(InvalidCommand.at("If-Match", `must be one ETag of an account, such as "5"; ${found}`))

/** The version that a command expects. A command has one, so neither several tags nor `*` can be meant; digits may lack their quotes. */
export const expectedVersionOf = (ifMatch: string): Result.Result<number, InvalidCommand> => {
  const tags = versionPattern.test(ifMatch.trim())
    ? [{ isWeak: false, value: ifMatch.trim() }]
    : readEntityTags(ifMatch)
  if (tags === undefined) return notOneVersion("this is no entity tag")
  if (tags === "*") return notOneVersion("* would be any version: leave the header out")
  const [tag, ...others] = tags
  if (tag === undefined || others.length > 0) return notOneVersion(`these are ${tags.length}`)
  if (tag.isWeak) return notOneVersion("a weak one matches no version")
  const text = tag.value.replace(heldPattern, "")
  const version = Number(text)
  return versionPattern.test(text) && Number.isSafeInteger(version)
    ? Result.succeed(version)
    : notOneVersion("this is none of ours")
}

/** Whether the client has the answer of this tag. */
export const isKnown = (
  ifNoneMatch: string | undefined,
  entityTag: string
): Result.Result<boolean, InvalidCommand> => {
  if (ifNoneMatch === undefined) return Result.succeed(false)
  const tags = readEntityTags(ifNoneMatch)
  if (tags === undefined)
    return Result.fail(InvalidCommand.at("If-None-Match", 'must be entity tags, such as "5", "6", or *'))
  // The comparison of a cache is weak: a proxy that compressed the answer may have made its tag so.
  return Result.succeed(tags === "*" || tags.some(({ value }) => value === entityTag))
}
