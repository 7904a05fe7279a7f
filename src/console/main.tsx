/** The auditor's console: a page that asks the node's API and shows the answers. It changes nothing. */
import { render } from "preact"
import { App } from "./App.tsx"

const root = document.getElementById("console")
if (root !== null) render(<App />, root)
