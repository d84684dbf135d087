// Answers questions about policies with @cloud-copilot/iam-simulate: a case a line on standard input, an answer a line
// on standard output, in the same order. Its one argument is the directory that tests/setup installed it into.
//
// A case: {"action", "resource", "policies": [document, …], "boundary"?: document, "context": {key: value}}.
// An answer: {"result": "Allowed" | "ExplicitlyDenied" | "ImplicitlyDenied"} or {"error": "…"}.
'use strict';
const { createRequire } = require('node:module');
const { createInterface } = require('node:readline');

const { runSimulation } = createRequire(`${process.argv[2]}/`)('@cloud-copilot/iam-simulate');

const accountId = '111122223333';
const principal = `arn:aws:iam::${accountId}:role/fleet/web`;
// The policy that KMS gives a key: without it no identity policy counts for the key ("Default key policy").
const keyPolicy = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${accountId}:root` }, Action: 'kms:*', Resource: '*' }],
};

async function answer({ action, resource, policies, boundary, context }) {
  const simulation = {
    request: { principal, action, resource: { resource, accountId }, contextVariables: context },
    identityPolicies: policies.map((policy, index) => ({ name: `policy ${index}`, policy })),
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    ...(action.startsWith('kms:') && { resourcePolicy: keyPolicy }),
    ...(boundary && { permissionBoundaryPolicies: [{ name: 'boundary', policy: boundary }] }),
  };
  const outcome = await runSimulation(simulation, {});
  return outcome.resultType === 'single'
    ? { result: outcome.overallResult }
    : { error: JSON.stringify(outcome.errors ?? outcome.resultType) };
}

(async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    const answered = await answer(JSON.parse(line)).catch((error) => ({ error: String(error) }));
    process.stdout.write(`${JSON.stringify(answered)}\n`);
  }
})();
