/**
 * The order of a batch over several owners: on every account its commands take effect as they were given, and what has
 * no account in common goes side by side.
 */
import { accountsOf, type Command } from "./Command.ts"
import type { AccountId } from "./Ids.ts"

/** The account that a hold was placed for stands in the hold alone, so a capture may touch any. */
export const mayTouchAny = (command: Command): boolean =>
  command._tag === "CaptureHold" && command.to === undefined

/** What is known of a command of a batch: it has taken effect or is under way, it may still be decided, or it will not be. */
export type Standing = "settled" | "open" | "over"

/**
 * The open ones of a batch, by their indices, behind which a settled one has an account in common: decided now they would come after
 * it. `standingOf` says of each index what is known.
 */
export const overtakenOf = (
  commands: ReadonlyArray<Command>,
  standingOf: (index: number) => Standing
): ReadonlySet<number> => {
  const overtaken = new Set<number>()
  const settled = new Set<AccountId>()
  let isAnySettled = false
  for (const [index, command] of [...commands.entries()].toReversed()) {
    const standing = standingOf(index)
    const accounts = accountsOf(command)
    if (standing === "settled") {
      for (const id of accounts) settled.add(id)
      isAnySettled ||= mayTouchAny(command)
    } else if (standing === "open") {
      const isBefore = mayTouchAny(command) ? settled.size > 0 : accounts.some((id) => settled.has(id))
      if (isAnySettled || isBefore) overtaken.add(index)
    }
  }
  return overtaken
}

/**
 * Cuts a batch into waves, each a list of indices in order. All commands of a wave may be given to their owners at once,
 * those of one owner in order; a wave begins when the one before has its outcomes. A command is in a later wave than
 * one before it only where they may share an account and have different owners.
 */
export const wavesOf = <Owner>(
  commands: ReadonlyArray<Command>,
  ownerOf: (command: Command, index: number) => Owner
): ReadonlyArray<ReadonlyArray<number>> => {
  const owners = commands.map(ownerOf)
  const isOfOne = owners.every((owner) => owner === owners[0])
  const last = new Map<AccountId, { readonly wave: number; readonly owner: Owner }>()
  const waves: Array<Array<number>> = []
  let first = 0
  for (const [index, command] of commands.entries()) {
    const owner = owners[index] as Owner // one for each command
    const accounts = accountsOf(command)
    if (mayTouchAny(command) && !isOfOne) {
      waves.push([index])
      first = waves.length
      continue
    }
    let wave = first
    for (const account of accounts) {
      const before = last.get(account)
      if (before !== undefined) wave = Math.max(wave, before.owner === owner ? before.wave : before.wave + 1)
    }
    for (const account of accounts) last.set(account, { wave, owner })
    const indices = waves[wave]
    if (indices === undefined) waves[wave] = [index]
    else indices.push(index)
  }
  return waves
}
