// Parse the document named on the command line; print what the parser found and understood, as JSON.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'));
const names = (group) => group.all().map((each) => each.id());

console.log(JSON.stringify({
  findings: diagnostics.map(({ code, message, path, severity }) => ({ code, message, path: path.join('/'), severity })),
  channels: document ? names(document.channels()) : [],
  operations: document ? names(document.operations()) : [],
  messages: document ? names(document.components().messages()) : [],
}));
