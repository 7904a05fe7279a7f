/** The beginning: what the books come to, how the node is, and where to go. */
import { useHealth, usePath } from "../asking.ts"
import { count } from "../format.ts"
import { Badge, Facts, Section, Shown, Title } from "../parts.tsx"
import { links } from "../route.ts"
import type { Stats, TrialLine } from "../wire.ts"
import { TrialTable } from "./TrialTable.tsx"

const Node = () => {
  const stats = usePath<Stats>("/v1/stats")
  const health = useHealth()
  return (
    <Section title="This node" aside={<a href={links.operations}>live</a>}>
      <Shown asked={stats} what="the node">
        {({ committed, rows, conflicts, trouble }) => (
          <Facts
            of={[
              ["Commands accepted since its start", count(committed)],
              ["Events committed", count(rows)],
              ["Conflicts", conflicts === 0 ? "none" : <Badge tone="bad">{count(conflicts)}</Badge>],
              [
                "Event store",
                trouble == null ? <Badge tone="good">commits</Badge> : <Badge tone="bad">in trouble</Badge>
              ]
            ]}
          />
        )}
      </Shown>
      <Shown asked={health} what="the read side">
        {({ readSide: { ready } }) => (
          <Facts
            of={[
              ["Read side", ready ? <Badge tone="good">keeps up</Badge> : <Badge tone="bad">not ready</Badge>]
            ]}
          />
        )}
      </Shown>
    </Section>
  )
}

export const HomeView = () => {
  const trial = usePath<ReadonlyArray<TrialLine>>("/v1/trial-balance")
  return (
    <>
      <Title kind="Auditor's console" title="The books">
        <p class="lead">
          Search any id above (press <kbd>/</kbd>): an account, a transaction, a hold, or the beginning of
          one. Nothing here changes anything.
        </p>
      </Title>
      <Section title="Trial balance" aside={<a href={links.books()}>by prefix and instant</a>}>
        <Shown asked={trial} what="the trial balance">
          {(lines) => <TrialTable lines={lines} />}
        </Shown>
      </Section>
      <Node />
    </>
  )
}
