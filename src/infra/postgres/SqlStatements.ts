/** Splits the text of an SQL file into its statements, so that each can be run and named alone. */

/** A piece of SQL text whose inside is not syntax: comment, string, quoted name, dollar-quoted body. */
const opaque = /--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$[A-Za-z_]*\$)[\s\S]*?\1/g

/** Splits at the semicolons that end statements. Knows comments, strings, quoted names and `$$` bodies. */
export const splitStatements = (text: string): ReadonlyArray<string> => {
  const statements: Array<string> = []
  let current = ""
  const plain = (piece: string) => {
    const parts = piece.split(";")
    current += parts[0] ?? ""
    for (const part of parts.slice(1)) {
      statements.push(current)
      current = part
    }
  }
  let end = 0
  for (const match of text.matchAll(opaque)) {
    plain(text.slice(end, match.index))
    end = match.index + match[0].length
    const isComment = match[0].startsWith("--") || match[0].startsWith("/*")
    current += isComment ? " " : match[0]
  }
  plain(text.slice(end))
  statements.push(current)
  return statements
    .map((statement) => statement.replaceAll(/[ \t]+\n/g, "\n").trim())
    .filter((statement) => statement !== "")
}
