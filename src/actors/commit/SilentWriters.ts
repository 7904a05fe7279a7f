/**
 * Which writers may be fenced because they gave no sign of life. When the event store stood still, all of them were silent: at the
 * first look after that most have not reported again, and a fence would cost nodes that live their writers. So a writer counts as
 * silent once the store has answered two looks, with time between them for several heartbeats, and it gave none.
 */
import type { Instant } from "../../domain/Ids.ts"
import type { WriterId, WriterRow } from "../../infra/eventstore/EventStore.ts"

/** So many heartbeats lie between two looks, at least. */
const heartbeatsBetween = 4

/** A silent writer as it was first seen. */
interface Silence {
  readonly heartbeatAt: Instant
  readonly seenAt: Instant
}

export const makeSilentWriters = (silentMs: number, heartbeatMs: number) => {
  let silences: ReadonlyMap<WriterId, Silence> = new Map()
  return {
    /**
     * Those of the writers that were silent for longer than `silentMs`, and have stayed so since an earlier look. `now` is by the
     * store's clock, and has to be of an answer of the store.
     */
    look: (writers: ReadonlyArray<WriterRow>, now: Instant): ReadonlyArray<WriterId> => {
      const found = new Map<WriterId, Silence>()
      const stayed: Array<WriterId> = []
      for (const { fenced, heartbeatAt, writerId } of writers) {
        if (fenced || now - heartbeatAt <= silentMs) continue
        const before = silences.get(writerId)
        const silence = before?.heartbeatAt === heartbeatAt ? before : { heartbeatAt, seenAt: now }
        found.set(writerId, silence)
        if (now - silence.seenAt >= heartbeatsBetween * heartbeatMs) stayed.push(writerId)
      }
      silences = found
      return stayed
    },
    /** The store did not answer a look: what was seen before says nothing any more. */
    forgetUnsafe: (): void => {
      silences = new Map()
    }
  }
}
