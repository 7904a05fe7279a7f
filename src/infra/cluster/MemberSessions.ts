/**
 * Which members of the cluster are gone, by the sessions that each has at the database of the locks: the database ends those of a
 * process that died at once, long before any time of waiting for a word of it is over. One that is frozen keeps them; it is told by
 * its silence, for each member looks at the sessions several times a second.
 *
 * A hint, as all of membership is: who may have a shard is decided by its lock. A node that is cut off from the database and lives is
 * taken for gone too, and is not certain of its locks by then (HeldLocks.ts).
 */

/** The name of a member: its address. */
export const memberOf = ({ host, port }: { readonly host: string; readonly port: number }) =>
  `${host}:${port}`

/** A session's name: of which member it is, and of which life of it. */
const prefix = "chronicle cluster "

/** How one life of a member names its sessions; `member` is undefined of a program that only asks. */
export const sessionName = (member: string | undefined, life: string): string =>
  `${prefix}${member === undefined ? "-" : keyOf(member)}.${life}`

/** Short enough for a session's name, whatever the address. Where two members have one key, either's session keeps both. */
const keyOf = (member: string): string => {
  let hash = 0x811c9dc5
  for (let index = 0; index < member.length; index++)
    hash = Math.imul(hash ^ member.charCodeAt(index), 0x01000193) >>> 0
  return hash.toString(36)
}

/** Undefined of a name that is none of a member, or of a program of before there were such names. */
const keyIn = (name: string): string | undefined =>
  /^chronicle cluster ([0-9a-z]+)\.[0-9a-z]+$/.exec(name)?.[1]

/** Sessions of one name. */
export interface Sessions {
  readonly name: string
  /** Advisory locks that they hold. */
  readonly locks: number
  /** Since when they have asked nothing, by the database's clock; 0 while they wait for an answer. */
  readonly silentMs: number
}

/** Looks that are further apart have a break between them, in milliseconds. */
const breakMs = 1_000

interface MemberTimes {
  /** A member is gone that has had no session for so long. */
  readonly absentMs: number
  /** A member is taken for frozen that has asked nothing for so long. */
  readonly silentMs: number
  /** Only a node that has seen the sessions for so long without a break judges others: after a restart of the database all come back one by one. */
  readonly steadyMs: number
  /** A member that was gone for so long is judged by its last sign of life alone. */
  readonly forgetMs: number
}

/** Times are milliseconds of any one clock. */
export class MemberSessions {
  readonly #times: MemberTimes
  /** Members that had sessions, each with since when it has none. */
  readonly #known = new Map<string, number | undefined>()
  /** Those that are gone, until they have a session again: a look that fails later brings none of them back. */
  readonly #gone = new Set<string>()
  #steadySinceMs: number | undefined
  #lookedAtMs = 0

  constructor(times: MemberTimes) {
    this.#times = times
  }

  /** The database told which sessions there are. Answers the names of those that are to be ended, because their members are frozen. */
  looked(all: ReadonlyArray<Sessions>, nowMs: number): ReadonlyArray<string> {
    // A node that stood still itself knows nothing of what was meanwhile.
    if (nowMs - this.#lookedAtMs > breakMs) this.#steadySinceMs = undefined
    this.#steadySinceMs ??= nowMs
    this.#lookedAtMs = nowMs
    const present = new Set(all.map(({ name }) => keyIn(name)))
    for (const key of present) {
      if (key === undefined) continue
      this.#known.set(key, undefined)
      this.#gone.delete(key)
    }
    const isSteady = nowMs - this.#steadySinceMs >= this.#times.steadyMs
    for (const [key, absentSinceMs] of this.#known) {
      if (present.has(key)) continue
      if (absentSinceMs === undefined) this.#known.set(key, nowMs)
      else if (this.#isForgotten(absentSinceMs, nowMs)) {
        this.#known.delete(key)
        this.#gone.delete(key)
      } else if (isSteady && nowMs - absentSinceMs >= this.#times.absentMs) this.#gone.add(key)
    }
    if (!isSteady) return []
    return all.flatMap(({ name, silentMs }) =>
      keyIn(name) !== undefined && silentMs > this.#times.silentMs ? [name] : []
    )
  }

  /** The database could not be asked. */
  failed(): void {
    this.#steadySinceMs = undefined
  }

  isGone(member: string, nowMs: number): boolean {
    const key = keyOf(member)
    const absentSinceMs = this.#known.get(key)
    return absentSinceMs !== undefined && this.#gone.has(key) && !this.#isForgotten(absentSinceMs, nowMs)
  }

  /** By time, and not by a look: where the database cannot be asked the last word on a member must not stand for ever. */
  #isForgotten(absentSinceMs: number, nowMs: number): boolean {
    return nowMs - absentSinceMs > this.#times.forgetMs
  }
}
