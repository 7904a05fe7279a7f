/**
 * Finds a key that stands twice in one object of a JSON text. `JSON.parse` takes the last of them without a word, other readers the
 * first or both (RFC 8259, 4): a gateway or an auditor would see another amount than the one that is booked.
 */
const [quote, backslash, colon] = [0x22, 0x5c, 0x3a]

/** The place of the quote that ends the string which begins at `from`. */
const endOfString = (text: string, from: number): number => {
  let at = from + 1
  while (text.charCodeAt(at) !== quote) at += text.charCodeAt(at) === backslash ? 2 : 1
  return at
}

/** How many members all objects of a text have: outside of strings a colon stands behind each key, and nowhere else. */
const membersOfText = (text: string): number => {
  let members = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === colon) members++
    else if (code === quote) at = endOfString(text, at)
  }
  return members
}

/** How many they have once they are read, where each key is there once. Without recursion, as deep as a text may nest. */
const membersOfValue = (value: unknown): number => {
  let members = 0
  const open: Array<unknown> = [value]
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    if (typeof one !== "object" || one === null) continue
    const inner: ReadonlyArray<unknown> = Object.values(one)
    if (!Array.isArray(one)) members += inner.length
    for (const child of inner) if (typeof child === "object" && child !== null) open.push(child)
  }
  return members
}

const behindKey = /[ \t\r\n]*:/y

/** Keys of a path that are told: a text may nest as deep as it is long. */
const pathMax = 100

/** An object or array that is not ended yet. */
interface Open {
  /** The keys so far; none of an array. */
  readonly keys: Set<string> | undefined
  /** The key or index of what is read. */
  at: string | number
}

/** The path of the first key that stands twice in one object. */
const firstTwice = (text: string): ReadonlyArray<string> | undefined => {
  const open: Array<Open> = []
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    const inner = open.at(-1)
    if (char === "{") open.push({ keys: new Set(), at: "" })
    else if (char === "[") open.push({ keys: undefined, at: 0 })
    else if (char === "}" || char === "]") open.pop()
    else if (char === "," && typeof inner?.at === "number") inner.at++
    else if (char === '"') {
      const end = endOfString(text, at)
      behindKey.lastIndex = end + 1
      if (behindKey.test(text)) {
        const key = String(JSON.parse(text.slice(at, end + 1)))
        if (inner?.keys === undefined) throw new Error("a key stands in no object")
        inner.at = key
        if (inner.keys.has(key)) return open.slice(0, pathMax).map((one) => String(one.at))
        inner.keys.add(key)
      }
      at = end
    }
  }
  return undefined
}

/** Its path. `value` is what the text, which is JSON, was read as. Undefined where each key is there once. */
export const duplicateKeyOf = (text: string, value: unknown): ReadonlyArray<string> | undefined =>
  membersOfText(text) === membersOfValue(value) ? undefined : firstTwice(text)
