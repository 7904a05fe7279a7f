/**
 * Which view a URL shows. Everything that a view shows follows from its URL, so that a link or a bookmark shows it again; what may hold any
 * character is encoded.
 */

type View =
  | { readonly view: "home" }
  | { readonly view: "search"; readonly text: string }
  | { readonly view: "account"; readonly id: string }
  | { readonly view: "transaction"; readonly id: string }
  | { readonly view: "holds"; readonly account: string }
  | { readonly view: "books"; readonly prefix: string }
  | { readonly view: "operations" }
  | { readonly view: "unknown"; readonly path: string }

export interface Route {
  readonly view: View
  /** The options of the view: instants, filters, cursors. */
  readonly options: URLSearchParams
}

const base = "/console"

/** A segment of a path; one that is not encoded as it should be stands for itself. */
const decoded = (path: string): string => {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

const viewOf = (path: string, options: URLSearchParams): View => {
  const [name = "", ...rest] = path
    .slice(base.length)
    .split("/")
    .filter((part) => part !== "")
  const id = decoded(rest.join("/"))
  switch (name) {
    case "":
      return { view: "home" }
    case "search":
      return { view: "search", text: options.get("q") ?? "" }
    case "accounts":
      return id === "" ? { view: "books", prefix: "" } : { view: "account", id }
    case "transactions":
      return id === "" ? { view: "unknown", path } : { view: "transaction", id }
    case "holds":
      return { view: "holds", account: options.get("account") ?? "" }
    case "books":
      return { view: "books", prefix: options.get("prefix") ?? "" }
    case "operations":
      return { view: "operations" }
    default:
      return { view: "unknown", path }
  }
}

export const parseRoute = ({
  pathname,
  search
}: {
  readonly pathname: string
  readonly search: string
}): Route => {
  const options = new URLSearchParams(search)
  return { view: viewOf(pathname, options), options }
}

/** A segment of a path. A colon is allowed in one, and ids are better read with it. */
export const segment = (text: string): string => encodeURIComponent(text).replaceAll("%3A", ":")

type Options = Readonly<Record<string, string | undefined>>

/** A path with the options that say something, in place of those of `given` that have their names. */
const withOptions = (path: string, options: Options, given = new URLSearchParams()): string => {
  for (const [name, value] of Object.entries(options))
    if (value === undefined || value === "") given.delete(name)
    else given.set(name, value)
  const text = given.toString().replaceAll("%3A", ":")
  return text === "" ? path : `${path}?${text}`
}

export const links = {
  home: base,
  search: (text: string) => withOptions(`${base}/search`, { q: text }),
  account: (id: string, options: Options = {}) => withOptions(`${base}/accounts/${segment(id)}`, options),
  transaction: (id: string) => `${base}/transactions/${segment(id)}`,
  holds: (options: Options = {}) => withOptions(`${base}/holds`, options),
  books: (prefix = "", options: Options = {}) => withOptions(`${base}/books`, { prefix, ...options }),
  operations: `${base}/operations`
} as const

/** The same view with other options; an empty one is left out. */
export const changed = (
  { pathname, search }: { readonly pathname: string; readonly search: string },
  options: Options
): string => withOptions(pathname, options, new URLSearchParams(search))

/** Whether the console shows it, so that a click on it loads no page anew. */
export const isOwn = (path: string): boolean => path === base || path.startsWith(`${base}/`)
