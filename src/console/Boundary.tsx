/** What is shown where a view cannot be: a fault of the console itself is told, and the frame around the view stays. */
import type { ComponentChildren } from "preact"
import { useErrorBoundary } from "preact/hooks"
import { Failure } from "./parts.tsx"

export const Boundary = ({ children }: { readonly children: ComponentChildren }) => {
  const [error, again] = useErrorBoundary()
  if (error === undefined) return <>{children}</>
  const detail = `${error instanceof Error ? error.message : String(error)}: please report it with this page's address.`
  return <Failure fault={{ status: 0, title: "The console failed", detail }} askAgain={again} />
}
