// What firebase-tools has against each user of a file, and as what it would upload him.
const fs = require("fs");
const { validateUserJson } = require("firebase-tools/lib/accountImporter");

const users = JSON.parse(fs.readFileSync(process.argv[2], "utf8")).users;
console.log(JSON.stringify(users.map((user) => ({ id: user.localId, error: validateUserJson(user).error || null }))));
