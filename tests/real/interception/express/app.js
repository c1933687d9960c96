// A login on Express. `plain` is the route as its guide writes it; `lenient` is what grows in ten years: bodies of every type,
// every method, overrides, names and formats in any spelling.
'use strict';
const fs = require('fs');
const path = require('path');
const express = require('express');
const methodOverride = require('method-override');

const lenient = process.env.FLAVOUR === 'lenient';
const record = fs.openSync(path.join(process.env.DATA_DIR, 'logins'), 'a');
const app = express();

app.use((request, response, next) => {
  response.set('x-backend', 'express');
  next();
});

/** Says, in the answer and in the record, whom a login was taken for. */
function answer(response, name, password) {
  if (name && password) {
    const taken = JSON.stringify([name, password]);
    fs.writeSync(record, `LOGIN ${taken}\n`);
    response.set('x-login', Buffer.from(taken).toString('base64'));
  }
  response.status(401).json({ error: 'wrong' });
}

if (lenient) {
  // Behind IIS and some gateways the path is in a header.
  app.use((request, response, next) => {
    const rewritten = request.get('x-original-url') || request.get('x-rewrite-url');
    if (rewritten && rewritten.startsWith('/')) request.url = rewritten;
    next();
  });
  app.use(methodOverride('X-HTTP-Method-Override', { methods: null }));
  app.use(methodOverride('X-HTTP-Method', { methods: null }));
  app.use(methodOverride('X-Method-Override', { methods: null }));
  app.use(methodOverride('_method', { methods: null }));
  app.use(express.json({ type: ['json', '+json', 'text/plain', 'application/octet-stream'], strict: false }));
  app.use(express.urlencoded({ extended: true }));
  app.use(express.text({ type: ['text/*', 'application/xml'] }));
  // A body that no type was declared for.
  app.use((request, response, next) => {
    if (request.headers['content-type']) return next();
    let text = '';
    request.on('data', (part) => (text += part));
    request.on('end', () => {
      try {
        request.body = JSON.parse(text);
      } catch {
        request.body = Object.fromEntries(new URLSearchParams(text));
      }
      next();
    });
  });
  app.use((request, response, next) => {
    if (request.body && typeof request.body === 'object' && typeof request.body._method === 'string') {
      request.method = request.body._method.toUpperCase();
    }
    next();
  });
  const fold = (from) => {
    const folded = {};
    for (const [key, value] of Object.entries(from || {})) folded[key.toLowerCase()] = value;
    return folded;
  };
  app.all(['/api/login', '/api/login.:format', '/api/login;:params'], (request, response) => {
    let body = request.body;
    if (typeof body === 'string') {
      try {
        body = JSON.parse(body);
      } catch {
        body = {};
      }
    }
    const given = { ...fold(request.query), ...fold((body && body.user) || body) };
    answer(response, given.email, given.password);
  });
} else {
  app.use(express.json());
  app.use(express.urlencoded({ extended: false }));
  app.post('/api/login', (request, response) => {
    const { email, password } = request.body || {};
    answer(response, email, password);
  });
}
app.get('/api/login', (request, response) => response.send('<form>'));
app.use((request, response) => response.status(404).json({ error: 'not found' }));
app.use((error, request, response, next) => response.status(error.status || 500).json({ error: 'bad' }));

const server = app.listen(Number(process.env.PORT), '127.0.0.1');
server.keepAliveTimeout = 60000;
