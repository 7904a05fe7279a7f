/** A quiet ledger in memory, and the tokens of callers whose names say what they may do. Opens no socket. */
import { Layer, Redacted, References } from "effect"
import { hashToken, type Token } from "../../src/access/Tokens.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import type { ClientLimits } from "../../src/rpc/client/ClientOptions.ts"

/** The program's own log, which tells of every refusal that a test provokes, is not printed. */
export const quiet = Layer.succeed(References.MinimumLogLevel, "None")

/** The token of a name is the name with `secret-` before it. */
export const tokenOf = (name: string) => Redacted.make(`secret-${name}`)

export const token = (name: string, scopes: Token["scopes"], accounts?: ReadonlyArray<string>): Token => ({
  name,
  sha256: hashToken(`secret-${name}`),
  scopes,
  ...(accounts === undefined ? {} : { accounts })
})

export const memoryLedger = LedgerNode.layerMemory.pipe(Layer.provideMerge(quiet))

/** Limits of a client that waits for what it asked, however long a loaded machine needs for it: a test's own time ends it. */
export const patientLimits: Partial<ClientLimits> = {
  commandDeadlineMs: 600_000,
  queryDeadlineMs: 600_000,
  pingMs: 60_000
}
