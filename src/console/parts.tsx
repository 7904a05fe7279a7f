/** What every view is made of: text of others, amounts, instants, ids as links, tables, and the states of loading, emptiness and failure. */
import type { ComponentChildren, JSX } from "preact"
import { useEffect, useRef } from "preact/hooks"
import { printable } from "../domain/Printable.ts"
import type { Answer, Fault } from "./api.ts"
import type { Asked } from "./asking.ts"
import { code, decimal, instant, isoInstant, shortened, signedDecimal, words } from "./format.ts"
import { links } from "./route.ts"

/** Text that others wrote: as text, with marks that are not seen made visible, apart from what is written around it. */
export const Text = ({ children }: { readonly children: string }) => (
  <bdi class="text">{printable(children)}</bdi>
)

type Units = string | bigint

/** A longer amount is broken where a line ends. */
const lineMost = 24

export const Amount = ({
  units,
  asset,
  isSigned = false,
  isWithCode = true
}: {
  readonly units: Units
  readonly asset: string
  readonly isSigned?: boolean
  readonly isWithCode?: boolean
}) => {
  const value = BigInt(units)
  const text = isSigned ? signedDecimal(value, asset) : decimal(value, asset)
  const size = text.length > lineMost ? "long" : ""
  const sign = value > 0n && isSigned ? "plus" : value < 0n ? "minus" : ""
  return (
    <span class={`amount ${sign} ${size}`}>
      {text}
      {isWithCode && <span class="code">{code(asset)}</span>}
    </span>
  )
}

export const Time = ({ at }: { readonly at: number }) => (
  <time class="time" dateTime={isoInstant(at)}>
    {instant(at)}
  </time>
)

const isContra = (id: string): boolean => id.startsWith("external:")

export const AccountLink = ({ id }: { readonly id: string }) =>
  isContra(id) ? (
    <a class="id" href={links.books("", { contra: id })}>
      <Text>{id}</Text>
    </a>
  ) : (
    <a class="id" href={links.account(id)}>
      <Text>{id}</Text>
    </a>
  )

export const TransactionLink = ({ id, label }: { readonly id: string; readonly label?: string }) => (
  <a class="id" href={links.transaction(id)} title={id}>
    <Text>{label ?? id}</Text>
  </a>
)

export const Hash = ({ of, isWhole = false }: { readonly of: string; readonly isWhole?: boolean }) => (
  <code class="hash" title={of}>
    {isWhole ? of : shortened(of, 16)}
  </code>
)

type Tone = "good" | "warn" | "bad" | "calm"

export const Badge = ({ tone, children }: { readonly tone: Tone; readonly children: ComponentChildren }) => (
  <span class={`badge ${tone}`}>{children}</span>
)

export const statusTone = (status: string): Tone =>
  status === "open" ? "good" : status === "frozen" ? "warn" : "calm"

export const Kind = ({ type }: { readonly type: string }) => <span class="kind">{words(type)}</span>

/** The heading of a view, to which the focus moves when the view is shown, so that it is read and tabbed from there. */
export const Title = ({
  title,
  kind,
  children
}: {
  readonly title: string
  readonly kind: string
  readonly children?: ComponentChildren
}) => {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `${printable(title)} – Chronicle console`
    heading.current?.focus({ preventScroll: true })
  }, [title])
  return (
    <header class="title">
      <p class="eyebrow">{kind}</p>
      <h1 ref={heading} tabIndex={-1}>
        <Text>{title}</Text>
      </h1>
      {children}
    </header>
  )
}

export const Section = ({
  title,
  aside,
  children
}: {
  readonly title: string
  readonly aside?: ComponentChildren
  readonly children: ComponentChildren
}) => (
  <section class="section" aria-label={title}>
    <div class="section-head">
      <h2>{title}</h2>
      {aside !== undefined && <div class="aside">{aside}</div>}
    </div>
    {children}
  </section>
)

/** Names and values; those without a value are left out. */
export const Facts = ({
  of
}: {
  readonly of: ReadonlyArray<readonly [name: string, value: ComponentChildren | undefined]>
}) => (
  <dl class="facts">
    {of.map(([name, value]) =>
      value === undefined ? null : (
        <div key={name}>
          <dt>
            <Text>{name}</Text>
          </dt>
          <dd>{value}</dd>
        </div>
      )
    )}
  </dl>
)

export const Metadata = ({ of }: { readonly of: Readonly<Record<string, string>> }) => (
  <Facts of={Object.entries(of).map(([name, value]) => [name, <Text>{value}</Text>])} />
)

export interface Column<Row> {
  readonly head: string
  readonly cell: (row: Row) => ComponentChildren
  /** Numbers stand at the end of their column. */
  readonly isNumber?: boolean
  /** Says what the value is, where a narrow screen shows no head. */
  readonly isLabelled?: boolean
}

/** A table, which a narrow screen shows as a list: numbers at the right, all else at the left. */
export const Table = <Row,>({
  label,
  columns,
  rows,
  keyOf
}: {
  readonly label: string
  readonly columns: ReadonlyArray<Column<Row>>
  readonly rows: ReadonlyArray<Row>
  readonly keyOf: (row: Row) => string
}) => {
  const classOf = ({ isNumber, isLabelled }: Column<Row>) =>
    `${isNumber === true ? "number" : ""} ${isLabelled === true ? "labelled" : ""}`
  return (
    <table aria-label={label}>
      <thead>
        <tr>
          {columns.map((column) => (
            <th key={column.head} scope="col" class={classOf(column)}>
              {column.head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map((column) => (
              <td key={column.head} class={classOf(column)} data-label={column.head}>
                {column.cell(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  )
}

export const Empty = ({ children }: { readonly children: ComponentChildren }) => (
  <p class="empty">{children}</p>
)

export const Loading = ({ what }: { readonly what: string }) => (
  <p class="loading" role="status">
    Asking for {what} …
  </p>
)

/** A part of what is shown already is still asked for. */
export const Asking = ({ children = "…" }: { readonly children?: string }) => (
  <span class="asking">{children}</span>
)

/** Why there is nothing to show, in the node's own words, and a way to ask again. */
export const Failure = ({ fault, askAgain }: { readonly fault: Fault; readonly askAgain?: () => void }) => (
  <div class={fault.status === 404 ? "failure missing" : "failure"} role="alert">
    <strong>
      <Text>{fault.title}</Text>
      {fault.status > 0 && <span class="muted"> {fault.status}</span>}
    </strong>
    <p>
      <Text>{fault.detail}</Text>
    </p>
    {askAgain !== undefined && (
      <button type="button" onClick={askAgain}>
        Ask again
      </button>
    )}
  </div>
)

/** Marks what stands here still, and is not of what is asked for now. */
export const Kept = ({
  isStale,
  children
}: {
  readonly isStale: boolean
  readonly children: ComponentChildren
}) => (
  <div class={isStale ? "kept busy" : "kept"} aria-busy={isStale}>
    {children}
  </div>
)

/** What there is of an answer: that it is asked for, why it failed, or its value. */
export const Shown = <A,>({
  asked,
  what,
  children
}: {
  readonly asked: Asked<A>
  readonly what: string
  readonly children: (value: A) => JSX.Element
}) => {
  const { answer, askAgain, isStale } = asked
  if (answer === undefined) return <Loading what={what} />
  return (
    <Kept isStale={isStale}>
      {answer._tag === "Ok" ? children(answer.value) : <Failure fault={answer.fault} askAgain={askAgain} />}
    </Kept>
  )
}

export const valueOf = <A,>(answer: Answer<A> | undefined): A | undefined =>
  answer?._tag === "Ok" ? answer.value : undefined

/** A form whose fields become options of the URL, once it is sent. */
export const Filters = ({
  label,
  onSend,
  children
}: {
  readonly label: string
  readonly onSend: (fields: Readonly<Record<string, string>>) => void
  readonly children: ComponentChildren
}) => (
  <form
    class="filters"
    aria-label={label}
    onSubmit={(event) => {
      event.preventDefault()
      const fields = [...new FormData(event.currentTarget).entries()]
      onSend(
        Object.fromEntries(
          fields.map(([name, value]) => [name, typeof value === "string" ? value.trim() : ""])
        )
      )
    }}
  >
    {children}
    <button type="submit">Show</button>
  </form>
)

export const Field = ({
  label,
  name,
  value,
  placeholder = "",
  size = 20
}: {
  readonly label: string
  readonly name: string
  readonly value: string
  readonly placeholder?: string
  readonly size?: number
}) => (
  <label class="field">
    <span>{label}</span>
    <input
      key={value}
      name={name}
      defaultValue={value}
      placeholder={placeholder}
      size={size}
      autocomplete="off"
      spellcheck={false}
    />
  </label>
)

export const Choice = ({
  label,
  name,
  value,
  of
}: {
  readonly label: string
  readonly name: string
  readonly value: string
  readonly of: ReadonlyArray<readonly [value: string, label: string]>
}) => (
  <label class="field">
    <span>{label}</span>
    <select key={value} name={name}>
      {of.map(([one, text]) => (
        <option key={one} value={one} selected={one === value}>
          {text}
        </option>
      ))}
    </select>
  </label>
)
