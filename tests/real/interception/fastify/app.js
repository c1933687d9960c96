// A login on Fastify. `plain` is the route as its guide writes it; `lenient` switches on what its options offer: case, slashes and
// doubled slashes ignored, `;` as a query, and a parser for every type.
'use strict';
const fs = require('fs');
const path = require('path');
const lenient = process.env.FLAVOUR === 'lenient';
const record = fs.openSync(path.join(process.env.DATA_DIR, 'logins'), 'a');
const app = require('fastify')({
  keepAliveTimeout: 60000,
  ...(lenient && {
    routerOptions: {
      caseSensitive: false,
      ignoreTrailingSlash: true,
      ignoreDuplicateSlashes: true,
      useSemicolonDelimiter: true,
    },
    // Rewriting proxies in front say in a header what was asked for.
    rewriteUrl: (request) => request.headers['x-original-url'] || request.headers['x-rewrite-url'] || request.url,
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
  }),
});

app.register(require('@fastify/formbody'));
app.addHook('onRequest', async (request, reply) => {
  reply.header('x-backend', 'fastify');
});
if (lenient) {
  app.addContentTypeParser('*', { parseAs: 'string' }, (request, body, done) => {
    try {
      done(null, JSON.parse(body));
    } catch {
      done(null, Object.fromEntries(new URLSearchParams(body)));
    }
  });
  app.addContentTypeParser('text/plain', { parseAs: 'string' }, (request, body, done) => {
    try {
      done(null, JSON.parse(body));
    } catch {
      done(null, {});
    }
  });
}

/** Says, in the answer and in the record, whom a login was taken for. */
function login(request, reply) {
  const given = lenient ? { ...request.query, ...request.body } : request.body || {};
  const { email, password } = given;
  if (email && password) {
    const taken = JSON.stringify([email, password]);
    fs.writeSync(record, `LOGIN ${taken}\n`);
    reply.header('x-login', Buffer.from(taken).toString('base64'));
  }
  return reply.code(401).send({ error: 'wrong' });
}

app.get('/api/login', (request, reply) => (lenient ? login(request, reply) : reply.send('<form>')));
app.post('/api/login', login);
if (lenient) {
  app.post('/api/login.json', login);
  app.route({ method: ['PUT', 'PATCH', 'DELETE', 'OPTIONS'], url: '/api/login', handler: login });
}
app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });
