/** The scopes of tokens. In a file of its own, so that a client that names them loads nothing of a server. */
import { Schema } from "effect"

/** `admin` includes the other two; `command` does not include `read`. */
export const Scope = Schema.Literals(["read", "command", "admin"])
export type Scope = typeof Scope.Type
