/**
 * The version of Node that the ledger needs, checked before anything else is loaded. On an older one most of it works:
 * only projectors begin again and again, and subscriptions throw, hours later and without a hint at the cause.
 */

/** What effect's platform for Node asks for; `engines` of package.json says the same. */
export const nodeVersionMin = "22.19.0"

/** What to tell the user who started an older Node; undefined where the version will do. */
export const nodeVersionFault = (version: string): string | undefined => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  const [majorMin = 0, minorMin = 0] = nodeVersionMin.split(".").map(Number)
  if (major > majorMin || (major === majorMin && minor >= minorMin)) return undefined
  return (
    `Chronicle Ledger needs Node ${nodeVersionMin} or later, and this is Node ${version}: use a later one, ` +
    "or the one that comes with the ledger's repository (node_modules/.bin/node, which its npm scripts run)"
  )
}
