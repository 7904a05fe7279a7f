/** Ranges of account ids, which compare by bytes. */
import { PgTypes } from "@effect/sql-pg"

/** Comes after every character of an account's id; so no id of a prefix lies beyond the prefix with it at the end. */
export const beyondIds = "~"

/** The parameters of `inPrefix`: ids compare by bytes. */
export const prefixParams = (prefix: string) => [PgTypes.text(prefix), PgTypes.text(`${prefix}${beyondIds}`)]

/** Whether a column is an id that begins with the prefix of two parameters; a range, for the primary keys. */
export const inPrefix = (column: string, first = 1) => `${column} >= $${first} AND ${column} < $${first + 1}`
