/** Asks the node's API. A token, where the node asks for one, is kept for this tab alone and sent as `Authorization`. */
import { noteDate } from "./nodeClock.ts"
import { segment } from "./route.ts"

const tokenKey = "chronicle-token"

export const readToken = (): string | null => sessionStorage.getItem(tokenKey)
export const keepToken = (token: string): void => sessionStorage.setItem(tokenKey, token)
export const forgetToken = (): void => sessionStorage.removeItem(tokenKey)

const wanted = "chronicle-token-wanted"

/** Calls back when the node refuses a question for want of a token that it knows; says whether one was sent. */
export const onTokenWanted = (call: (hadToken: boolean) => void): (() => void) => {
  const listen = () => call(readToken() !== null)
  addEventListener(wanted, listen)
  return () => removeEventListener(wanted, listen)
}

/** Why there is no answer: a problem document of the node, or no answer at all. */
export interface Fault {
  /** Of HTTP; 0 where the node did not answer. */
  readonly status: number
  readonly title: string
  readonly detail: string
}

export type Answer<A> =
  | { readonly _tag: "Ok"; readonly value: A }
  | { readonly _tag: "Failed"; readonly fault: Fault }

type Parameter = string | number | ReadonlyArray<string> | undefined | null

/** Parts of a path, each encoded, and parameters; those without a value are left out. */
export const apiPath = (
  parts: ReadonlyArray<string>,
  parameters: Readonly<Record<string, Parameter>> = {}
): string => {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === null || value === "") continue
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one))
  }
  const text = query.toString()
  return `/${parts.map(segment).join("/")}${text === "" ? "" : `?${text}`}`
}

export const failed = (status: number, title: string, detail: string): Answer<never> => ({
  _tag: "Failed",
  fault: { status, title, detail }
})

const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

/** The document of a fault; a proxy on the way may answer with none. */
const faultOf = async (response: Response): Promise<Answer<never>> => {
  const document: Readonly<Record<string, unknown>> = await response.json().catch(() => ({}))
  const title = textOf(document.title) ?? `The node answered ${response.status}`
  return failed(response.status, title, textOf(document.detail) ?? "It said no more.")
}

/** Nodes answer within seconds, or that they cannot; a connection may also be silent. */
const patienceMs = 30_000

export const ask = async <A>(path: string, signal?: AbortSignal): Promise<Answer<A>> => {
  const token = readToken()
  const headers: Record<string, string> = { accept: "application/json" }
  if (token !== null) headers.authorization = `Bearer ${token}`
  const timeout = AbortSignal.timeout(patienceMs)
  const sentAt = Date.now()
  try {
    const response = await fetch(path, {
      headers,
      cache: "no-store",
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout])
    })
    noteDate(response.headers.get("date"), sentAt)
    if (response.status === 401) dispatchEvent(new Event(wanted))
    if (!response.ok) return await faultOf(response)
    // The node's answers have the form that the views of the ledger say.
    return { _tag: "Ok", value: (await response.json()) as A }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return failed(
      0,
      "No answer",
      `The node did not answer (${reason}). It may have ended, or the network may be down.`
    )
  }
}

/** Answers in the order of the paths, a few at a time. */
export const askAll = async <A>(
  paths: ReadonlyArray<string>,
  signal?: AbortSignal,
  atOnce = 6
): Promise<ReadonlyArray<Answer<A>>> => {
  const answers: Array<Answer<A>> = []
  const next = paths.entries()
  const work = async (): Promise<void> => {
    for (const [index, path] of next) {
      if (signal?.aborted === true) return
      answers[index] = await ask<A>(path, signal)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return answers
}

/** Those that were answered. */
export const answered = <A>(answers: ReadonlyArray<Answer<A>>): ReadonlyArray<A> =>
  answers.flatMap((answer) => (answer?._tag === "Ok" ? [answer.value] : []))

/** Why the first of them was not answered. */
export const firstFault = (answers: ReadonlyArray<Answer<unknown>>): Fault | undefined => {
  const failure = answers.find((answer) => answer?._tag === "Failed")
  return failure?._tag === "Failed" ? failure.fault : undefined
}

export const mapAnswer = <A, B>(answer: Answer<A>, map: (value: A) => B): Answer<B> =>
  answer._tag === "Ok" ? { _tag: "Ok", value: map(answer.value) } : answer
