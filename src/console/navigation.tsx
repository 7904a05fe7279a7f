/** The URL as the state of the console: which view is shown, and how links and forms move to another without a page being loaded. */
import { type ComponentChildren, createContext } from "preact"
import { useContext, useEffect, useMemo, useState } from "preact/hooks"
import { isOwn, parseRoute, type Route } from "./route.ts"

const Current = createContext<Route>({ view: { view: "home" }, options: new URLSearchParams() })

const moved = "chronicle-moved"

/** Shows another URL. `replace`: the one before is not gone back to. */
export const navigate = (path: string, how: { readonly replace?: boolean } = {}): void => {
  if (how.replace === true) history.replaceState(null, "", path)
  else history.pushState(null, "", path)
  dispatchEvent(new Event(moved))
}

/** A plain click on a link to a view; with a key it opens a tab, as everywhere. */
const ownLink = (event: MouseEvent): HTMLAnchorElement | undefined => {
  if (event.defaultPrevented || event.button !== 0) return undefined
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return undefined
  const link = event.target instanceof Element ? event.target.closest("a") : null
  if (link === null || link.target !== "" || link.hash !== "" || link.origin !== location.origin)
    return undefined
  return isOwn(link.pathname) ? link : undefined
}

export const Router = ({ children }: { readonly children: ComponentChildren }) => {
  const [url, setUrl] = useState(location.pathname + location.search)
  useEffect(() => {
    const read = () => setUrl(location.pathname + location.search)
    const follow = (event: MouseEvent) => {
      const link = ownLink(event)
      if (link === undefined) return
      event.preventDefault()
      navigate(link.pathname + link.search)
      scrollTo(0, 0)
    }
    addEventListener("popstate", read)
    addEventListener(moved, read)
    document.addEventListener("click", follow)
    return () => {
      removeEventListener("popstate", read)
      removeEventListener(moved, read)
      document.removeEventListener("click", follow)
    }
  }, [])
  const route = useMemo(() => {
    const [pathname = "", search = ""] = url.split(/(?=\?)/)
    return parseRoute({ pathname, search })
  }, [url])
  return <Current.Provider value={route}>{children}</Current.Provider>
}

export const useRoute = (): Route => useContext(Current)

/** An option of the view from its URL; empty where there is none. */
export const useOption = (name: string): string => useRoute().options.get(name) ?? ""
