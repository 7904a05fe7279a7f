/** Makes rows of the log from a few words on each event, hashed as the program hashes them. */
import { genesis, link } from "../../src/domain/HashChain.ts"
import { AccountId, CommandId } from "../../src/domain/Ids.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"

export const accountId = (id: string) => AccountId.make(id)
export const commandId = (id: string) => CommandId.make(id)

export interface Words {
  readonly account: string
  readonly version: number
  readonly command?: string
  readonly ordinal?: number
  readonly payload?: string
  readonly type?: string
  readonly recordedAt?: number
  readonly effectiveAt?: number
  readonly context?: string
}

/** A deposit, unless told otherwise; its command id is `account-version`. */
export const storedEvent = (words: Words): StoredEvent => {
  const ordinal = words.ordinal ?? 0
  const unlinked = {
    accountId: accountId(words.account),
    version: words.version,
    type: words.type ?? "Deposited",
    schemaVersion: 1,
    payload: words.payload ?? `{"amount":"${words.version}","contra":"external:bank"}`,
    commandId: commandId(words.command ?? `${words.account}-${words.version}`),
    ordinal,
    commandHash: ordinal === 0 ? "BUcbzZ5rLwaXDf7EZpC-8VJ3M2jXw5cD2uwS1LhZ8mA" : null,
    recordedAt: words.recordedAt ?? 1_767_225_600_000 + words.version,
    effectiveAt: words.effectiveAt ?? null,
    context: words.context ?? null
  }
  return { ...unlinked, hash: link(genesis, unlinked) }
}

/** Versions `first` … `last` of one account. */
export const storedEvents = (account: string, first: number, last: number): ReadonlyArray<StoredEvent> =>
  Array.from({ length: last - first + 1 }, (_, index) => storedEvent({ account, version: first + index }))
