/** The frame of every view: search and navigation, the token where the node asks for one, and the view that the URL names. */
import { useEffect, useRef, useState } from "preact/hooks"
import { anyCommandIdLengthMax } from "../domain/IdPatterns.ts"
import { forgetToken, keepToken, onTokenWanted, readToken } from "./api.ts"
import { Boundary } from "./Boundary.tsx"
import { navigate, Router, useRoute } from "./navigation.tsx"
import { Title } from "./parts.tsx"
import { links, type Route } from "./route.ts"
import { AccountView } from "./views/AccountView.tsx"
import { BooksView } from "./views/BooksView.tsx"
import { HoldsView } from "./views/HoldsView.tsx"
import { HomeView } from "./views/HomeView.tsx"
import { OperationsView } from "./views/OperationsView.tsx"
import { SearchView } from "./views/SearchView.tsx"
import { TransactionView } from "./views/TransactionView.tsx"

const Body = ({ view }: Route) => {
  switch (view.view) {
    case "home":
      return <HomeView />
    case "search":
      return <SearchView key={view.text} text={view.text} />
    case "account":
      return <AccountView key={view.id} id={view.id} />
    case "transaction":
      return <TransactionView key={view.id} id={view.id} />
    case "holds":
      return <HoldsView key={view.account} account={view.account} />
    case "books":
      return <BooksView prefix={view.prefix} />
    case "operations":
      return <OperationsView />
    case "unknown":
      return (
        <Title kind="Not found" title="No such view">
          <p>The console has no view at this address. Search above, or go to the beginning.</p>
        </Title>
      )
  }
}

const Search = () => {
  const { view } = useRoute()
  const input = useRef<HTMLInputElement>(null)
  const text = view.view === "search" ? view.text : ""
  useEffect(() => {
    // As on most pages with a search: a slash goes there.
    const go = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLElement && event.target.matches("input, select, textarea")
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return
      event.preventDefault()
      input.current?.focus()
    }
    addEventListener("keydown", go)
    return () => removeEventListener("keydown", go)
  }, [])
  return (
    <search>
      <form
        class="search"
        onSubmit={(event) => {
          event.preventDefault()
          const typed = input.current?.value.trim() ?? ""
          if (typed !== "") navigate(links.search(typed))
        }}
      >
        <input
          ref={input}
          key={text}
          type="search"
          name="q"
          defaultValue={text}
          aria-label="Search an account, a transaction, a hold or the beginning of an id"
          placeholder="Search any id"
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          maxLength={anyCommandIdLengthMax}
        />
        <button type="submit">Search</button>
      </form>
    </search>
  )
}

const places = [
  ["books", "Books", links.books()],
  ["holds", "Holds", links.holds()],
  ["operations", "Operations", links.operations]
] as const

const Header = ({ hasToken, forget }: { readonly hasToken: boolean; readonly forget: () => void }) => {
  const { view } = useRoute()
  return (
    <header class="bar">
      <a class="brand" href={links.home} aria-label="Chronicle console, beginning">
        Chronicle
      </a>
      <nav aria-label="Views">
        {places.map(([name, label, path]) => (
          <a key={name} href={path} aria-current={view.view === name ? "page" : undefined}>
            {label}
          </a>
        ))}
        {hasToken && (
          <button type="button" class="quiet" onClick={forget}>
            Forget token
          </button>
        )}
      </nav>
      <Search />
    </header>
  )
}

/** Asks for a token. It is kept until this tab is closed, and sent to this node alone. */
const TokenForm = ({ isRefused, onGiven }: { readonly isRefused: boolean; readonly onGiven: () => void }) => {
  const input = useRef<HTMLInputElement>(null)
  return (
    <Title kind="Token" title="This node asks for a token">
      <p>
        It needs the scope <code>read</code>. It is kept in this tab alone, until the tab is closed.
      </p>
      <form
        class="filters"
        onSubmit={(event) => {
          event.preventDefault()
          const token = input.current?.value.trim() ?? ""
          if (token === "") return
          keepToken(token)
          onGiven()
        }}
      >
        <label class="field">
          <span>Token</span>
          <input ref={input} type="password" autocomplete="off" size={32} aria-describedby="token-fault" />
        </label>
        <button type="submit">Use it</button>
      </form>
      <p id="token-fault" role="status" class="fault">
        {isRefused ? "The node does not know this token." : ""}
      </p>
    </Title>
  )
}

const Main = () => {
  const route = useRoute()
  const [epoch, setEpoch] = useState(0)
  const [wanted, setWanted] = useState<"no" | "first" | "again">("no")
  useEffect(() => onTokenWanted((hadToken) => setWanted(hadToken ? "again" : "first")), [])
  const given = () => {
    setWanted("no")
    setEpoch((before) => before + 1)
  }
  const forget = () => {
    forgetToken()
    given()
  }
  return (
    <>
      <a class="skip" href="#main">
        Skip to the contents
      </a>
      <Header hasToken={readToken() !== null} forget={forget} />
      <main id="main" tabIndex={-1} key={epoch}>
        {wanted === "no" ? (
          <Boundary>
            <Body {...route} />
          </Boundary>
        ) : (
          <TokenForm isRefused={wanted === "again"} onGiven={given} />
        )}
      </main>
    </>
  )
}

export const App = () => (
  <Router>
    <Main />
  </Router>
)
