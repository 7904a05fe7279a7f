/** Passwords of the development stack's servers: other users of the machine reach them on loopback too. */
import { randomBytes } from "node:crypto"

/** Safe in a URL and in a file. */
export const newPassword = (): string => randomBytes(18).toString("base64url")
