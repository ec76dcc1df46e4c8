// Drives `cwm debug --dap` with the client library that editors' authors test their adapters with.
// Arguments: python, a script that serves the protocol, a program, a port (0: standard input and output), a token.
const assert = require('assert');
const { DebugClient } = require('@vscode/debugadapter-testsupport');

const [python, server, program, port, token] = process.argv.slice(2);
const launch = (more) => ({ program, call: 'f(4)', mode: 'real', stopOnEntry: false, token, ...more });
const done = [];

async function talk(name, conversation) {
  const client = new DebugClient(python, server, 'cwm', {}, true);
  await client.start(Number(port) || undefined);
  try {
    await conversation(client);
    done.push(name);
  } finally {
    await client.stop();
  }
}

async function main() {
  await talk('initialize', async (client) => {
    const answer = await client.initializeRequest();
    assert.strictEqual(answer.body.supportsStepBack, true);
    assert.strictEqual(answer.body.supportsDataBreakpoints, true);
  });
  await talk('a breakpoint is hit', (client) => client.hitBreakpoint(launch(), { path: program, line: 8 }));
  await talk('a conditional breakpoint, backwards and the end', async (client) => {
    await Promise.all([
      client.waitForEvent('initialized').then(() => client.setBreakpointsRequest({
        source: { path: program }, breakpoints: [{ line: 8, condition: 'i == 2' }],
      })).then(() => client.configurationDoneRequest()),
      client.launch(launch()),
      client.assertStoppedLocation('breakpoint', { path: program, line: 8 }),
    ]);
    const frames = (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames;
    const scopes = (await client.scopesRequest({ frameId: frames[0].id })).body.scopes;
    const variables = (await client.variablesRequest({ variablesReference: scopes[0].variablesReference })).body.variables;
    assert.strictEqual(variables.find((item) => item.name === 'i').value, '2');
    const answer = await client.evaluateRequest({ expression: 'total + 1', frameId: frames[0].id });
    assert.strictEqual(answer.body.result, '2');
    await Promise.all([client.stepBackRequest({ threadId: 1 }), client.assertStoppedLocation('step', { line: 7 })]);
    await Promise.all([client.reverseContinueRequest({ threadId: 1 }), client.waitForEvent('stopped')]);
    await Promise.all([client.continueRequest({ threadId: 1 }), client.waitForEvent('stopped')]);
    await Promise.all([client.continueRequest({ threadId: 1 }), client.waitForEvent('stopped')]);
    await Promise.all([client.continueRequest({ threadId: 1 }), client.waitForEvent('terminated')]);
  });
  await talk('a program that is not there', async (client) => {
    await client.initializeRequest();
    await assert.rejects(client.launchRequest(launch({ program: program + '.not' })), /cannot read/);
  });
  await talk('run to the end', (client) => Promise.all([
    client.configurationSequence(), client.launch(launch({ stopAtEnd: false })), client.waitForEvent('terminated'),
  ]));
  console.log(done.join('\n'));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
