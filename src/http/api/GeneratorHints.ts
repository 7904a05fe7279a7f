/**
 * Says in an OpenAPI document what generators of clients need to know and what its schemas, as they are derived, do not say: names for
 * what they would have to number, which member of a union a value is, and which integers need 64 bits. What is valid stays the same.
 */
import { Predicate } from "effect"

export type Json = Readonly<Record<string, unknown>>

export const isJson = (value: unknown): value is Json => Predicate.isObject(value) && !Array.isArray(value)

/** The document with each of its objects replaced, the innermost first. */
const replaceObjects = (value: unknown, replace: (object: Json) => unknown): unknown => {
  if (Array.isArray(value)) return value.map((one) => replaceObjects(one, replace))
  if (!isJson(value)) return value
  return replace(
    Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, replaceObjects(inner, replace)]))
  )
}

const schemasOf = (document: Json): Json =>
  isJson(document.components) && isJson(document.components.schemas) ? document.components.schemas : {}

const withSchemas = (document: Json, schemas: Json): Json => ({
  ...document,
  components: { ...(isJson(document.components) ? document.components : {}), schemas }
})

const refTo = (name: string): string => `#/components/schemas/${name}`

/** Of a stream of effect's, how it would tell of its end by a failure: ours end without a word, and are resumed. */
const withoutStreamHints = (object: Json): Json => {
  const { "x-effect-stream": _, ...rest } = object
  return rest
}

const int32Max = 2 ** 31 - 1

/** Without a format, generators for languages with integers of 32 bits take those, which instants do not fit into. */
const withInt64 = (object: Json): Json =>
  object.type === "integer" && Number(object.maximum ?? 0) > int32Max
    ? { ...object, format: "int64" }
    : object

/** `Receipt_1` is `Receipt` with another description, which is that of the response. */
const mergeTwins = (document: Json): Json => {
  const schemas = schemasOf(document)
  const plain = (name: string): string => {
    const { description: _, ...schema } = isJson(schemas[name]) ? schemas[name] : {}
    return JSON.stringify(schema)
  }
  const originals = new Map<string, string>()
  for (const name of Object.keys(schemas)) {
    const original = /^(.+)_\d+$/.exec(name)?.[1]
    if (original !== undefined && plain(original) === plain(name)) originals.set(name, original)
  }
  const shared = new Set(originals.values())
  const kept = Object.entries(schemas)
    .filter(([name]) => !originals.has(name))
    .map(([name, schema]) => [name, shared.has(name) ? JSON.parse(plain(name)) : schema])
  const refs = new Map([...originals].map(([name, original]) => [refTo(name), refTo(original)]))
  return replaceObjects(withSchemas(document, Object.fromEntries(kept)), (object) => {
    const target = typeof object.$ref === "string" ? refs.get(object.$ref) : undefined
    return target === undefined ? object : { ...object, $ref: target }
  }) as Json // an object becomes an object
}

/** The one value that a property of an object always has. */
const constantOf = (schema: unknown, property: string): string | undefined => {
  if (!isJson(schema) || !isJson(schema.properties)) return undefined
  const found = schema.properties[property]
  const values = isJson(found) && Array.isArray(found.enum) ? found.enum : []
  return values.length === 1 && typeof values[0] === "string" ? values[0] : undefined
}

/** Events, and the commands of a group, by the names of their tags; the body of a command has that name already. */
const nameTagged = (document: Json): Json => {
  const schemas = schemasOf(document)
  const named = new Map<string, Json>()
  const name = (object: Json): unknown => {
    const tag = constantOf(object, "_tag")
    if (tag === undefined) return object
    const component = Object.hasOwn(schemas, tag) ? `${tag}InGroup` : tag
    const known = named.get(component)
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(object)) return object
    named.set(component, object)
    return { $ref: refTo(component) }
  }
  // What is a component has a name, whatever is in it.
  const within = (schema: unknown): unknown =>
    isJson(schema)
      ? Object.fromEntries(Object.entries(schema).map(([key, inner]) => [key, replaceObjects(inner, name)]))
      : schema
  const replaced = Object.fromEntries(Object.entries(schemas).map(([key, schema]) => [key, within(schema)]))
  const paths = replaceObjects(document.paths, name)
  return withSchemas({ ...document, paths }, { ...replaced, ...Object.fromEntries(named) })
}

/** The property by whose value a member of a union is told from the others. */
const discriminators = ["_tag", "type"] as const

const withDiscriminators = (document: Json): Json => {
  const schemas = schemasOf(document)
  const byRef = new Map(Object.entries(schemas).map(([name, schema]) => [refTo(name), schema]))
  const tell = (object: Json): Json => {
    const members = Array.isArray(object.anyOf) ? object.anyOf : []
    const refs = members.map((member) =>
      isJson(member) && typeof member.$ref === "string" ? member.$ref : ""
    )
    for (const propertyName of discriminators) {
      const values = refs.map((ref) => constantOf(byRef.get(ref), propertyName))
      if (refs.length < 2 || values.includes(undefined) || new Set(values).size < refs.length) continue
      const mapping = Object.fromEntries(values.map((value, nth) => [value, refs[nth]]))
      return { ...object, discriminator: { propertyName, mapping } }
    }
    return object
  }
  return replaceObjects(document, tell) as Json // an object becomes an object
}

/** An enumeration of one value would become a type of its own wherever it stands. */
const withConstants = (object: Json): Json => {
  const { enum: values, ...rest } = object
  return Array.isArray(values) && values.length === 1 ? { ...rest, const: values[0] } : object
}

export const withGeneratorHints = (document: Json): Json => {
  const exact = replaceObjects(document, (object) => withInt64(withoutStreamHints(object))) as Json // as above
  const named = withDiscriminators(nameTagged(mergeTwins(exact)))
  return replaceObjects(named, withConstants) as Json // as above
}
