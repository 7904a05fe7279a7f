/**
 * What the driver does not do by itself.
 *
 * It writes and reads the types of our columns well but for `timestamptz`: it multiplies milliseconds by a thousand as floating point
 * numbers, whose product is not exact from the year 4253 on: it wrote some instants up to 16 µs too early, and read those a
 * millisecond too early, so that the hash of an event did not cover its row (I5).
 *
 * And connections of a pool that were opened together are replaced together.
 */
import { PgTypes } from "@effect/sql-pg"
import { Clock, Effect, Result } from "effect"

/** From where PostgreSQL counts microseconds: the year 2000, in milliseconds of ours. */
const epochMs = 946_684_800_000
const word = 2 ** 32
/** The upper halves of the microseconds that a number has exactly. */
const exactHigh = 2 ** 21

const refused = (value: unknown) =>
  Result.fail(new PgTypes.CodecError({ message: `not an instant in milliseconds: ${value}` }))

interface Instants extends PgTypes.Codec<Date | number> {}
type Sink = Parameters<NonNullable<Instants["write"]>>[0]

const write = (
  sink: Pick<Sink, "int32" | "bigInt64">,
  value: Date | number
): Result.Result<void, PgTypes.CodecError> => {
  const ms = typeof value === "number" ? value : value.getTime()
  if (!Number.isSafeInteger(ms)) return refused(value)
  const micros = (ms - epochMs) * 1000
  const high = Math.floor(micros / word)
  if (high >= -exactHigh && high < exactHigh) {
    sink.int32(high)
    sink.int32(micros - high * word)
  } else {
    sink.bigInt64(BigInt(ms - epochMs) * 1000n)
  }
  return Result.void
}

/** A view of the bytes for each instant would take as long again as all the rest. */
const int32At = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)

const read = (
  bytes: Uint8Array,
  offset: number,
  size: number
): Result.Result<Date | number, PgTypes.CodecError> => {
  if (size !== 8) return refused(`${size} bytes`)
  const high = int32At(bytes, offset)
  if (high >= -exactHigh && high < exactHigh) {
    const micros = high * word + (int32At(bytes, offset + 4) >>> 0)
    return Result.succeed(new Date(Math.floor(micros / 1000) + epochMs))
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8)
  // The nearest millisecond, so that what the driver wrote before is read as it was meant.
  return Result.succeed(new Date(Number((view.getBigInt64(0) + 500n) / 1000n) + epochMs))
}

const instants: Instants = {
  encode: (value) => {
    const view = new DataView(new ArrayBuffer(8))
    let at = 0
    const written = write(
      { int32: (half) => view.setInt32(4 * at++, half), bigInt64: (micros) => view.setBigInt64(0, micros) },
      value
    )
    return Result.map(written, () => new Uint8Array(view.buffer))
  },
  decode: (bytes) => read(bytes, 0, bytes.length),
  write,
  read
}

/** For `types` of a client that writes or reads columns of `Columns.ts`. */
export const columnTypes = PgTypes.makeRegistry()
columnTypes.register(PgTypes.OID.timestamptz, instants)

/** Its multiples, without their whole parts, lie evenly between 0 and 1, however many they are (the sequence of Weyl). */
const goldenPart = (Math.sqrt(5) - 1) / 2

/** Tells up to `byMs` more than the time, each time another part of that. */
const makeUneven = (clock: Clock.Clock, byMs: number): Clock.Clock => {
  let readings = 0
  const currentTimeMillisUnsafe = (): number =>
    clock.currentTimeMillisUnsafe() + byMs * ((++readings * goldenPart) % 1)
  return {
    currentTimeMillisUnsafe,
    currentTimeMillis: Effect.sync(currentTimeMillisUnsafe),
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    currentTimeNanos: clock.currentTimeNanos,
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  }
}

/** Of the age by which connections are replaced, the part from which on they are. */
const firstPart = 0.7

/**
 * For a pool whose connections are replaced at ages from seven tenths of `ageMs` to the whole: its `connectionTTL`, and what it is made
 * by. A burst of work opens connections in one moment, and from then on they would grow old together: once a minute every connection
 * of a node would be opened anew at once, each with some milliseconds of hashing for its password in the thread that commands wait
 * for. A pool knows one age for all of them, but it reads its clock when it opens a connection and when it lends one out.
 */
export const unevenAges = (ageMs: number) => {
  // What the clock adds when a connection is opened may be all or nothing, and so when it is lent.
  const byMs = (ageMs * (1 - firstPart)) / 2
  return {
    connectionTTL: ageMs - byMs,
    unevenly: <A, E, R>(makePool: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.flatMap(Clock.Clock, (clock) =>
        Effect.provideService(makePool, Clock.Clock, makeUneven(clock, byMs))
      )
  }
}
