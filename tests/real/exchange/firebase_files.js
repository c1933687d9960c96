// The exporter of firebase-tools writes both of its forms; the one request that it makes is answered from standard input.
const fs = require("fs");
const path = require("path");
const { Client } = require("firebase-tools/lib/apiv2");
const { serialExportUsers } = require("firebase-tools/lib/accountExporter");

const out = process.argv[2];
fs.mkdirSync(out, { recursive: true });
const users = fs.readFileSync(0, "utf8");
Client.prototype.post = async () => ({ body: { users: JSON.parse(users) } });

// As src/commands/auth-export.ts frames them.
async function write(name, format, before, after) {
  const stream = fs.createWriteStream(path.join(out, name));
  stream.write(before);
  await serialExportUsers("demo", { format, writeStream: stream, batchSize: 1000 });
  stream.end(after);
  await new Promise((done) => stream.on("finish", done));
}

(async () => {
  await write("users.json", "json", '{"users": [\n', "]}");
  await write("users.csv", "csv", "", "");
})();
