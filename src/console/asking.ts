/** Answers of the node as state of a view: asked when its question changes, kept while the next one is under way. */
import { useEffect, useState } from "preact/hooks"
import { type Answer, ask, failed } from "./api.ts"
import { nodeNow } from "./nodeClock.ts"
import type { Health } from "./wire.ts"

export interface Asked<A> {
  /** Undefined until the first answer. */
  readonly answer: Answer<A> | undefined
  /** Another answer is on its way. */
  readonly isBusy: boolean
  /** The answer is one to the question before. */
  readonly isStale: boolean
  readonly askAgain: () => void
}

/** `question` names what `load` asks: as long as it is the same, nothing is asked anew. */
export const useAsked = <A>(
  question: string,
  load: (signal: AbortSignal) => Promise<Answer<A>>
): Asked<A> => {
  const [state, setState] = useState<{
    readonly key?: string
    readonly question?: string
    readonly answer?: Answer<A>
  }>({})
  const [turn, setTurn] = useState(0)
  const key = `${question} ${turn}`
  useEffect(() => {
    const controller = new AbortController()
    void load(controller.signal).then((answer) => {
      // What was asked meanwhile is of more interest.
      if (!controller.signal.aborted) setState({ key, question, answer })
    })
    return () => controller.abort()
  }, [key])
  return {
    answer: state.answer,
    isBusy: state.key !== key,
    isStale: state.answer !== undefined && state.question !== question,
    askAgain: () => setTurn((before) => before + 1)
  }
}

export const usePath = <A>(path: string): Asked<A> => useAsked(path, (signal) => ask<A>(path, signal))

/** How the node is. What it tells those who may not know is the same as no answer. */
export const useHealth = (): Asked<Health> =>
  useAsked("health", async (signal): Promise<Answer<Health>> => {
    const answer = await ask<Health | { readonly up: true }>("/health", signal)
    if (answer._tag === "Failed") return answer
    return "readSide" in answer.value
      ? { _tag: "Ok", value: answer.value }
      : failed(401, "Not told", "How this node is, it tells from its own machine or with the scope read.")
  })

/** Asks again in so many milliseconds after each answer, while the page is seen. */
export const useEvery = (ms: number, { askAgain, isBusy }: Asked<unknown>): void => {
  useEffect(() => {
    if (isBusy) return undefined
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") askAgain()
    }, ms)
    return () => clearInterval(timer)
  }, [isBusy, ms])
}

/** The node's clock, looked at again every so many milliseconds. */
export const useNow = (everyMs: number): number => {
  const [, look] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => look((before) => before + 1), everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
  return nodeNow()
}
