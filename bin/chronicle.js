#!/usr/bin/env node
/** The command `chronicle` of the installed package; in a working copy `npm run chronicle` runs the sources. */
import "../dist/cli/main.js"
