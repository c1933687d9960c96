// A login service as people write it: Express, argon2 with OWASP's parameters, better-sqlite3, a JWT. The runner puts it beside its
// node_modules and tells it by the environment where to listen, where its file is, and how many users to begin with.
const argon2 = require('argon2');
const Database = require('better-sqlite3');
const express = require('express');
const jwt = require('jsonwebtoken');

const SECRET = 'only-for-the-bench-change-me-32-bytes!';
const OPTIONS = { type: argon2.argon2id, memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

async function main() {
  const db = new Database(process.env.DB);
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL, password_hash TEXT NOT NULL)');
  const hash = await argon2.hash(process.env.PASSWORD, OPTIONS);
  const insert = db.prepare('INSERT INTO users (email, password_hash) VALUES (?, ?)');
  db.transaction(() => {
    for (let number = 0; number < Number(process.env.USERS); number += 1) insert.run(`user${number}@example.com`, hash);
  })();
  const byEmail = db.prepare('SELECT id, email, password_hash FROM users WHERE email = ?');

  const app = express();
  app.disable('x-powered-by');
  app.use(express.json());
  app.post('/login', async (req, res) => {
    const { email, password } = req.body;
    const user = byEmail.get(email);
    if (!user || !(await argon2.verify(user.password_hash, password))) {
      return res.status(401).json({ error: 'invalid credentials' });
    }
    const token = jwt.sign({ sub: user.id, email: user.email }, SECRET, { algorithm: 'HS256', expiresIn: '1h' });
    return res.json({ token, user: { id: user.id, email: user.email } });
  });
  app.listen(Number(process.env.PORT), '127.0.0.1');
}

main();
