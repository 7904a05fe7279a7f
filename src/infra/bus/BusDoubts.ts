/**
 * What a node can tell of a bus that keeps less than it could. Whether a server syncs each message before it acknowledges
 * it, the server tells to its monitoring port and to its system account alone, never to those who publish and subscribe.
 */

export interface BusSeen {
  /** Of the server that the node is connected to. */
  readonly version: string | undefined
  /** The cluster that it is of, if it is of one. */
  readonly cluster?: string | undefined
  /** The server is on this machine: a development stack's, which says itself what it cannot. */
  readonly isLoopback: boolean
  readonly stream: string
  /** How many servers keep each message … */
  readonly replicas: number
  /** … and how many should: `CHRONICLE_NATS_REPLICAS`. */
  readonly replicasWanted: number
}

/** A server before 2.10 has no `sync_interval`, and refuses a configuration that sets it. */
export const knowsSyncInterval = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major > 2 || (major === 2 && minor >= 10)
}

/** One text for each; none where nothing speaks against the bus. */
export const doubtsOf = (seen: BusSeen): ReadonlyArray<string> => {
  const doubts: Array<string> = []
  if (!seen.isLoopback && seen.version !== undefined && !knowsSyncInterval(seen.version)) {
    doubts.push(
      `nats-server ${seen.version} cannot sync a message to disk before it acknowledges it (2.10 can): what it loses with its machine is read from the log`
    )
  }
  if (seen.replicas !== seen.replicasWanted) {
    doubts.push(
      `the stream ${seen.stream} keeps each message on ${seen.replicas} of the servers, but CHRONICLE_NATS_REPLICAS is ${seen.replicasWanted}, which counts when the stream is made: nats stream edit ${seen.stream} --replicas ${seen.replicasWanted}`
    )
  } else if (seen.replicas === 1 && seen.cluster !== undefined) {
    doubts.push(
      `the stream ${seen.stream} is on one server of the cluster ${seen.cluster}: while that one is away nothing reaches the projections by the bus; set CHRONICLE_NATS_REPLICAS, and nats stream edit ${seen.stream} --replicas 3`
    )
  }
  return doubts
}
