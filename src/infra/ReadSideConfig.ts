/** Every limit of the read side (bus, relay, projections, queries) in one place (I10), each with its default. */
import { Context } from "effect"

export interface ReadSideLimits {
  /** Events the feed holds between the commit pipeline and the relay; what is above is read from the store. */
  readonly feedEventsMax: number
}

export const defaultReadSideLimits: ReadSideLimits = {
  feedEventsMax: 20_000
}

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const ReadSideConfig = Context.Reference<ReadSideLimits>("chronicle/infra/ReadSideConfig", {
  defaultValue: () => defaultReadSideLimits
})
