/**
 * Bundles the front: `program.ts` with effect in a few files, without what commands do on stores and nodes. Loading effect
 * takes half a second of processor because it is 300 files; in one file, of which V8 keeps the compiled code, it takes a
 * tenth. `src/cli/front.ts` runs this in a working copy whenever its sources have changed, `npm run build` for the package.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { rolldown } from "rolldown"

/** Everything else is left as it is and loaded where it is needed. */
const isBundled = (id: string): boolean =>
  /^(\.|\/|[A-Za-z]:|\0)/.test(id) || /^(effect|@effect\/platform-node(-shared)?)(\/|$)/.test(id)

/** In place of a file that works on stores or runs a node: each of its functions hands over. */
const handingOver = (code: string, handOver: string): string => {
  const names = [...code.matchAll(/^export (?:const|function\*?) (\w+)/gm)].map(([, name]) => name)
  return `import { Effect } from "effect"
import { HandOver } from ${JSON.stringify(handOver)}
const handOver = () => Effect.fail(new HandOver())
export { ${names.map((name) => `handOver as ${name}`).join(", ")} }`
}

/** Writes the front into `outDir`, with `front.mjs` to begin with. */
export const bundleFront = async (sources: string, outDir: string): Promise<void> => {
  const cli = join(sources, "cli")
  const bundle = await rolldown({
    input: { front: join(cli, "program.ts") },
    platform: "node",
    external: (id) => !isBundled(id),
    plugins: [
      {
        name: "hand over",
        load: (id) =>
          id.startsWith(join(cli, "run"))
            ? { code: handingOver(readFileSync(id, "utf8"), join(cli, "handOver.ts")), moduleType: "js" }
            : undefined
      }
    ]
  })
  await bundle.write({
    dir: outDir,
    format: "esm",
    entryFileNames: "[name].mjs",
    chunkFileNames: "[name]-[hash].mjs",
    minify: true
  })
  await bundle.close()
}

if (import.meta.main) {
  await bundleFront(join(import.meta.dirname, "..", "src"), join(import.meta.dirname, "..", "dist", "front"))
}
