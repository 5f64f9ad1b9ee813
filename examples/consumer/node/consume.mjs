// Takes each of Trunkline's events once, validated by the committed schemas: node consume.mjs <seen.txt> <topic> …
import { appendFileSync, existsSync, readFileSync, readdirSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { Kafka, logLevel } from 'kafkajs';

const SCHEMAS = new URL(process.env.SCHEMAS ?? '../../../libs/contracts/schemas/', import.meta.url);
const [seenFile, ...topics] = process.argv.slice(2);

// By type, for instance call.inbound.v1, the reader's schema of its newest minor version.
function validators(topic) {
  const ajv = addFormats(new Ajv2020({ strict: false }));
  const folder = new URL(`${topic}/`, SCHEMAS);
  const versions = readdirSync(folder)
    .map((file) => /^v(\d+)\.(\d+)\.reader\.json$/.exec(file))
    .filter(Boolean)
    .sort((a, b) => a[1] - b[1] || a[2] - b[2]);
  return versions.map(([file, major]) => [
    `${topic}.v${major}`, ajv.compile(JSON.parse(readFileSync(new URL(file, folder), 'utf8'))),
  ]);
}

const known = new Map(topics.flatMap(validators));
const seen = new Set(existsSync(seenFile) ? readFileSync(seenFile, 'utf8').split('\n') : []);

function take(topic, { headers, value }) {
  const header = (name) => headers[name]?.toString() ?? '';
  const [id, type, subject] = [header('ce_id'), header('ce_type'), header('ce_subject')];
  if (header('ce_specversion') !== '1.0' || !id || !type) return 'aside not an event';
  if (seen.has(id)) return `again ${id}`;
  const line = judge(topic, type, subject, value);
  // Here the effect is a printed line. Keep yours and the id in one transaction of your database.
  appendFileSync(seenFile, `${id}\n`);
  seen.add(id);
  return line;
}

function judge(topic, type, subject, value) {
  if (value === null) return `deleted ${type} ${subject}`;
  const validate = known.get(type);
  if (!validate && type.startsWith(`${topic}.v`)) return `aside ${type} is newer than this consumer`;
  if (!validate) return `ignored ${type} ${subject}`;
  let data;
  try {
    data = JSON.parse(value.toString());
  } catch {
    return `aside ${type} is not JSON`;
  }
  // Places and rules, never values: they may be personal.
  const wrong = (validate(data) ? [] : validate.errors).map((each) => `${each.instancePath || '/'} ${each.keyword}`);
  return wrong.length ? `aside ${type} ${wrong.join(', ')}` : `took ${type} ${subject}`;
}

const kafka = new Kafka({ brokers: process.env.KAFKA_BOOTSTRAP.split(','), logLevel: logLevel.ERROR });
const consumer = kafka.consumer({ groupId: process.env.GROUP ?? 'example-node' });
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => consumer.disconnect());

await consumer.connect();
await consumer.subscribe({ topics, fromBeginning: true });
// The offset is committed after this returns.
await consumer.run({ eachMessage: async ({ topic, message }) => console.log(take(topic, message)) });
