// Runs the audits of GraphQL over HTTP against GRAPHQL_URL. The recommendations of the specification must pass as well.
import { serverAudits } from 'graphql-http';

const url = process.env.GRAPHQL_URL;
if (!url) {
  console.error('GRAPHQL_URL is not set');
  process.exit(2);
}

const audits = serverAudits({ url });
let passed = 0;
for (const { id, name, fn } of audits) {
  // An audit throws if there is no response.
  const result = await fn().catch((error) => ({ status: 'error', reason: String(error.cause ?? error) }));
  if (result.status === 'ok') {
    passed += 1;
  } else {
    console.log(`${result.status}: ${id} ${name}: ${result.reason}`);
  }
}
console.log(`${passed} of ${audits.length} audits pass`);
process.exitCode = audits.length > 0 && passed === audits.length ? 0 : 1;
