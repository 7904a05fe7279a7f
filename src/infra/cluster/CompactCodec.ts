/**
 * A binary form of values, compiled from their schema, for messages between nodes of which each costs processor time.
 * The codecs of effect check every value and take 10 to 25 microseconds a message; here a message was made by a node that
 * showed who it is, so only what could break the reader is checked, and it takes about one.
 */
import { hash } from "node:crypto"
import { type Schema, SchemaAST } from "effect"

/** The bytes are not of the form that was agreed on: their sender is no node of this version. */
export class MalformedBytes extends Error {}

const initialBytes = 1_024
const twoTo31 = 2 ** 31

/** Bytes that grow at their end. */
export class ByteWriter {
  #bytes: Buffer
  length = 0

  constructor(size = initialBytes) {
    this.#bytes = Buffer.allocUnsafeSlow(size)
  }

  /** Room for so many bytes more. */
  #reserve(more: number): void {
    const needed = this.length + more
    if (needed <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
    this.#bytes.copy(grown, 0, 0, this.length)
    this.#bytes = grown
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.length++] = value
  }

  /** A whole number from 0 to 2^53 - 1, seven bits a byte. */
  uint(value: number): void {
    this.#reserve(8)
    let rest = value
    // Shifts see 32 bits only.
    while (rest >= twoTo31) {
      this.#bytes[this.length++] = (rest % 128) | 128
      rest = Math.floor(rest / 128)
    }
    while (rest >= 128) {
      this.#bytes[this.length++] = (rest & 127) | 128
      rest >>>= 7
    }
    this.#bytes[this.length++] = rest
  }

  /** A fixed place for a number of 32 bits; returns where it is. */
  placeUint32(): number {
    this.#reserve(4)
    const at = this.length
    this.length += 4
    return at
  }

  setUint32(at: number, value: number): void {
    this.#bytes.writeUInt32BE(value, at)
  }

  double(value: number): void {
    this.#reserve(8)
    this.#bytes.writeDoubleBE(value, this.length)
    this.length += 8
  }

  /** UTF-8, or, where that would lose something (a lone surrogate in an error's text), UTF-16. */
  text(value: string): void {
    const { length } = value
    this.#reserve(length + 5)
    const start = this.length
    if (length < 64) {
      // Nearly all are short ids: their one byte of length can be written before they are looked at.
      const bytes = this.#bytes
      let at = start + 1
      let index = 0
      for (; index < length; index++) {
        const code = value.charCodeAt(index)
        if (code >= 128) break
        bytes[at++] = code
      }
      if (index === length) {
        bytes[start] = length << 1
        this.length = at
        return
      }
    }
    const isUtf8 = value.isWellFormed()
    const size = isUtf8 ? Buffer.byteLength(value) : length * 2
    this.#reserve(size + 8)
    this.uint(size * 2 + (isUtf8 ? 0 : 1))
    this.length += this.#bytes.write(value, this.length, size, isUtf8 ? "utf8" : "utf16le")
  }

  blob(value: Uint8Array): void {
    this.uint(value.length)
    this.#reserve(value.length)
    this.#bytes.set(value, this.length)
    this.length += value.length
  }

  /** As a number where it is one: length 0 and 1 of the bytes say so, with the sign. */
  bigint(value: bigint): void {
    const magnitude = value < 0n ? -value : value
    const sign = value < 0n ? 1 : 0
    if (magnitude <= maxSafe) {
      this.byte(sign)
      this.uint(Number(magnitude))
      return
    }
    const hex = magnitude.toString(16)
    const size = (hex.length + 1) >> 1
    this.byte(2 + sign)
    this.uint(size)
    this.#reserve(size)
    this.length += this.#bytes.write(hex.padStart(size * 2, "0"), this.length, "hex")
  }

  /** What was written from `start` on is taken back. */
  cutTo(start: number): void {
    this.length = start
  }

  /** The bytes so far; the writer must not be used any more. */
  take(): Buffer {
    return this.#bytes.subarray(0, this.length)
  }
}

const maxSafe = BigInt(Number.MAX_SAFE_INTEGER)

/** Reads what a `ByteWriter` wrote, and throws `MalformedBytes` where it cannot have been one. */
export class ByteReader {
  readonly #bytes: Buffer
  at: number
  readonly #end: number

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes
    this.at = start
    this.#end = end
  }

  get isAtEnd(): boolean {
    return this.at >= this.#end
  }

  /** The bytes that are left; a count of things that take a byte each cannot be above. */
  get left(): number {
    return this.#end - this.at
  }

  byte(): number {
    if (this.at >= this.#end) throw new MalformedBytes("a message ends too early")
    return this.#bytes[this.at++] as number // in bounds
  }

  uint(): number {
    let value = this.byte()
    if (value < 128) return value
    value &= 127
    for (let factor = 128; ; factor *= 128) {
      const next = this.byte()
      value += (next & 127) * factor
      if (next < 128) break
    }
    if (!Number.isSafeInteger(value)) throw new MalformedBytes("a number is too large")
    return value
  }

  /** Reads the length of a list, whose elements take a byte each at least: a larger number is a lie. */
  count(): number {
    const count = this.uint()
    if (count > this.left) throw new MalformedBytes("more is announced than follows")
    return count
  }

  #skip(size: number): number {
    const start = this.at
    if (size > this.#end - start) throw new MalformedBytes("a message ends too early")
    this.at = start + size
    return start
  }

  double(): number {
    return this.#bytes.readDoubleBE(this.#skip(8))
  }

  text(): string {
    const header = this.uint()
    const size = Math.floor(header / 2)
    const start = this.#skip(size)
    return this.#bytes.toString(header % 2 === 0 ? "utf8" : "utf16le", start, start + size)
  }

  blob(): Buffer {
    const start = this.#skip(this.count())
    return this.#bytes.subarray(start, this.at)
  }

  bigint(): bigint {
    const kind = this.byte()
    if (kind > 3) throw new MalformedBytes("a number of no known kind")
    if (kind < 2) {
      const value = BigInt(this.uint())
      return kind === 1 ? -value : value
    }
    const start = this.#skip(this.count())
    const value = BigInt(`0x0${this.#bytes.toString("hex", start, this.at)}`)
    return kind === 3 ? -value : value
  }
}

interface CompactCodec<A> {
  readonly write: (writer: ByteWriter, value: A) => void
  readonly read: (reader: ByteReader) => A
  /** Equal where the forms are: nodes of different programs compare it before they use the form. */
  readonly fingerprint: string
}

interface Part {
  // Values of a part are what its schema says; the compiler below has no type for each.
  readonly write: (writer: ByteWriter, value: never) => void
  readonly read: (reader: ByteReader) => unknown
  readonly layout: string
}

type Fields = Readonly<Record<string, unknown>>

/** Makes an instance of a class from its fields. */
type Construct = new (fields: never, options: { readonly disableChecks: true }) => object

/** A class of the schema that is met in the values, as errors are. */
type ValueClass = Construct & { readonly identifier: string }

/**
 * The form of the values of a schema: its type side, without its checks. The classes among the values must be given.
 * Throws for a schema with parts that have no form.
 */
export const compactCodec = <S extends Schema.Constraint>(
  schema: S,
  classes: ReadonlyArray<ValueClass>
): CompactCodec<S["Type"]> => {
  const byIdentifier = new Map(classes.map((one) => [one.identifier, one]))
  const part = compile(SchemaAST.toType(schema.ast), byIdentifier)
  return {
    write: part.write as CompactCodec<S["Type"]>["write"], // compiled from the schema of the type
    read: part.read as CompactCodec<S["Type"]>["read"], // as above
    fingerprint: hash("sha256", part.layout, "hex").slice(0, 16)
  }
}

type Classes = ReadonlyMap<string, ValueClass>

const compile = (ast: SchemaAST.AST, classes: Classes): Part => {
  switch (ast._tag) {
    case "String":
      return { write: (writer, value: string) => writer.text(value), read: readText, layout: "text" }
    case "Boolean":
      return { write: (writer, value: boolean) => writer.byte(value ? 1 : 0), read: readFlag, layout: "flag" }
    case "BigInt":
      return { write: (writer, value: bigint) => writer.bigint(value), read: readBigint, layout: "bigint" }
    case "Number":
      return number(ast)
    case "Literal":
      return { write: () => {}, read: () => ast.literal, layout: JSON.stringify(String(ast.literal)) }
    case "Arrays":
      return list(ast, classes)
    case "Objects":
      return ast.indexSignatures.length > 0 ? record(ast, classes) : struct(ast, classes)
    case "Union":
      return union(ast, classes)
    case "Declaration":
      return instance(ast, classes)
    default:
      throw new Error(`a schema of kind ${ast._tag} has no compact form`)
  }
}

const readText = (reader: ByteReader) => reader.text()
const readFlag = (reader: ByteReader) => reader.byte() === 1
const readBigint = (reader: ByteReader) => reader.bigint()

const isWhole = (ast: SchemaAST.AST): boolean =>
  ast.checks?.some(({ annotations }) => idOf(annotations?.representation) === "effect/schema/isInt") ?? false

const idOf = (representation: unknown): unknown =>
  typeof representation === "object" && representation !== null && "id" in representation
    ? representation.id
    : undefined

const number = (ast: SchemaAST.AST): Part =>
  isWhole(ast)
    ? {
        // The sign is the lowest bit, so that small negative numbers are short too.
        write: (writer, value: number) => {
          if (Math.abs(value) <= wholeMax) return writer.uint(value < 0 ? -value * 2 - 1 : value * 2)
          if (!Number.isSafeInteger(value)) throw new MalformedBytes(`${value} is out of bounds`)
          writer.uint(farWhole)
          writer.double(value)
        },
        read: (reader) => {
          const value = reader.uint()
          if (value === farWhole) return readFarWhole(reader)
          return value % 2 === 0 ? value / 2 : -(value + 1) / 2
        },
        layout: "whole"
      }
    : {
        // Minus zero is read as zero, as it is from JSON.
        write: (writer, value: number) => writer.double(value + 0),
        read: (reader) => reader.double(),
        layout: "number"
      }

/** Beyond this a number with its sign as the lowest bit is no exact one any more; it follows as a double then. */
const wholeMax = (Number.MAX_SAFE_INTEGER - 1) / 2
/** The sign as the lowest bit of no number up to that. */
const farWhole = Number.MAX_SAFE_INTEGER
const readFarWhole = (reader: ByteReader): number => {
  const value = reader.double()
  if (!Number.isSafeInteger(value)) throw new MalformedBytes(`${value} is no whole number`)
  return value
}

const list = (ast: SchemaAST.Arrays, classes: Classes): Part => {
  const [element] = ast.rest
  if (ast.elements.length > 0 || ast.rest.length !== 1 || element === undefined)
    throw new Error("a tuple has no compact form")
  const part = compile(element, classes)
  return {
    write: (writer, values: ReadonlyArray<never>) => {
      writer.uint(values.length)
      for (const value of values) part.write(writer, value)
    },
    read: (reader) => {
      const values: Array<unknown> = []
      for (let left = reader.count(); left > 0; left--) values.push(part.read(reader))
      return values
    },
    layout: `[${part.layout}]`
  }
}

const record = (ast: SchemaAST.Objects, classes: Classes): Part => {
  const [signature] = ast.indexSignatures
  if (ast.propertySignatures.length > 0 || signature?.parameter._tag !== "String")
    throw new Error("a record with fixed keys has no compact form")
  const part = compile(signature.type, classes)
  return {
    write: (writer, values: Readonly<Record<string, never>>) => {
      const entries = Object.entries(values)
      writer.uint(entries.length)
      for (const [key, value] of entries) {
        writer.text(key)
        part.write(writer, value)
      }
    },
    read: (reader) => {
      const entries: Array<readonly [string, unknown]> = []
      for (let left = reader.count(); left > 0; left--) entries.push([reader.text(), part.read(reader)])
      // Makes a key `__proto__` a key like any other, which an assignment would not.
      return Object.fromEntries(entries)
    },
    layout: `{${part.layout}}`
  }
}

interface Field extends Part {
  readonly name: string
  /** Its bit among those that say which optional fields are there; 0 where it always is. */
  readonly bit: number
}

const fieldsOf = (ast: SchemaAST.Objects, classes: Classes): ReadonlyArray<Field> => {
  let optional = 0
  const fields = ast.propertySignatures.map(({ name, type }): Field => {
    const part = compile(type, classes)
    const isOptional = type.context?.isOptional === true
    return { ...part, name: String(name), bit: isOptional ? 2 ** optional++ : 0 }
  })
  if (optional > 31) throw new Error("a structure with more than 31 optional fields has no compact form")
  return fields
}

const struct = (ast: SchemaAST.Objects, classes: Classes): Part => {
  const fields = fieldsOf(ast, classes)
  const hasOptional = fields.some(({ bit }) => bit !== 0)
  return {
    write: (writer, value: Fields) => {
      if (hasOptional) {
        let present = 0
        for (const { name, bit } of fields) if (bit !== 0 && value[name] !== undefined) present += bit
        writer.uint(present)
      }
      for (const field of fields) {
        const one = value[field.name]
        if (field.bit === 0 || one !== undefined) field.write(writer, one as never) // the field's own
      }
    },
    read: (reader) => {
      const present = hasOptional ? reader.uint() : 0
      const value: Record<string, unknown> = {}
      for (const field of fields) {
        if (field.bit === 0 || (present & field.bit) !== 0) value[field.name] = field.read(reader)
      }
      return value
    },
    layout: `{${fields.map(({ name, bit, layout }) => `${name}${bit === 0 ? "" : "?"}:${layout}`).join(",")}}`
  }
}

/** One of several literals or tagged structures, by its place in the schema. */
const union = (ast: SchemaAST.Union, classes: Classes): Part => {
  const members = ast.types.flatMap(membersOf)
  const parts = members.map((member) => compile(member, classes))
  const places = new Map(members.map((member, place) => [discriminantOf(member), place]))
  if (places.size !== members.length || members.length > 255)
    throw new Error("a union whose members share a tag has no compact form")
  const isOfLiterals = members.every(({ _tag }) => _tag === "Literal")
  return {
    write: (writer, value: never) => {
      const tag: unknown = isOfLiterals ? value : (value as { readonly _tag: string })._tag // a tagged structure
      const place = places.get(tag)
      const part = place === undefined ? undefined : parts[place]
      if (place === undefined || part === undefined) throw new MalformedBytes(`no member is ${String(tag)}`)
      writer.byte(place)
      part.write(writer, value)
    },
    read: (reader) => {
      const part = parts[reader.byte()]
      if (part === undefined) throw new MalformedBytes("a value of no known kind")
      return part.read(reader)
    },
    layout: `(${parts.map(({ layout }) => layout).join("|")})`
  }
}

const membersOf = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> =>
  ast._tag === "Union" ? ast.types.flatMap(membersOf) : [ast]

const discriminantOf = (ast: SchemaAST.AST): unknown => {
  if (ast._tag === "Literal") return ast.literal
  const fields = ast._tag === "Declaration" ? ast.typeParameters[0] : ast
  const tag =
    fields?._tag === "Objects" ? fields.propertySignatures.find(({ name }) => name === "_tag") : undefined
  if (tag?.type._tag !== "Literal")
    throw new Error("a union of other than literals and tagged structures has no compact form")
  return tag.type.literal
}

const instance = (ast: SchemaAST.Declaration, classes: Classes): Part => {
  const [fields] = ast.typeParameters
  const identifier = ast.annotations?.identifier
  const Class = typeof identifier === "string" ? classes.get(identifier) : undefined
  if (fields?._tag !== "Objects" || Class === undefined)
    throw new Error(`values of the class ${String(identifier)} have no compact form`)
  const part = struct(fields, classes)
  return {
    write: part.write,
    read: (reader) => new Class(part.read(reader) as never, { disableChecks: true }), // the fields of the class
    layout: `${String(identifier)}${part.layout}`
  }
}
