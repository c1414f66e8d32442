// Serves `dist` and a sign-in page in front of a server of `cruddur-messaging dev`, which lists its users' tokens with
// `token HANDLE`. For tests of the client with a server that serves no client.
//
//   node dev/serve.mjs PORT API_URL SERVER_BINARY DATA_DIR

import { execFileSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { extname, join } from 'node:path';

const [port, api, binary, dataDir] = process.argv.slice(2);
const origin = `http://127.0.0.1:${port}`;
const dist = join(import.meta.dirname, '..', 'dist');
const CLIENT_ID = 'cruddur-dev';
const USERS = ['ana', 'ben', 'chloe', 'dmitri', 'esi'];
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
const CSP = `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ${origin}; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`;

const tokens = new Map();
const tokenOf = (handle) => {
  if (!tokens.has(handle))
    tokens.set(handle, execFileSync(binary, ['token', handle, '--data-dir', dataDir]).toString().trim());
  return tokens.get(handle);
};
const codes = new Map();
const refreshTokens = new Map();
const base64url = (value) => Buffer.from(value).toString('base64url');

function grant(handle, nonce, refresh = randomUUID()) {
  refreshTokens.set(refresh, handle);
  const access = tokenOf(handle);
  const { sub } = JSON.parse(Buffer.from(access.split('.')[1], 'base64url'));
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: origin, aud: CLIENT_ID, sub, iat: now, exp: now + 3600, nonce, preferred_username: handle };
  const idToken = `${base64url('{"alg":"none"}')}.${base64url(JSON.stringify(claims))}.`;
  return { access_token: access, id_token: idToken, refresh_token: refresh, token_type: 'Bearer', expires_in: 3600 };
}

const json = (response, status, value) => {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(value));
};

async function formOf(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return new URLSearchParams(body);
}

function proxy(request, response) {
  const target = new URL(request.url, api);
  const forwarded = http.request(
    target,
    { method: request.method, headers: { ...request.headers, host: target.host } },
    (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    },
  );
  forwarded.on('error', () => response.destroy());
  response.on('close', () => forwarded.destroy());
  request.pipe(forwarded);
}

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, origin);
  switch (url.pathname) {
    case '/graphql':
      return proxy(request, response);
    case '/config.json':
      return json(response, 200, {
        authority: origin,
        clientId: CLIENT_ID,
        scope: 'openid profile',
        logoutUrl: `${origin}/logout`,
      });
    case '/.well-known/openid-configuration':
      return json(response, 200, {
        issuer: origin,
        authorization_endpoint: `${origin}/oauth2/authorize`,
        token_endpoint: `${origin}/oauth2/token`,
        revocation_endpoint: `${origin}/oauth2/revoke`,
      });
    case '/oauth2/authorize': {
      const { searchParams } = url;
      const handle = searchParams.get('handle');
      if (!handle) {
        const links = USERS.map((user) => {
          searchParams.set('handle', user);
          return `<p><a href="?${searchParams.toString().replaceAll('&', '&amp;')}">Sign in as ${user}</a></p>`;
        });
        response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
        return response.end(`<!doctype html><html lang="en"><title>Sign in</title>${links.join('')}</html>`);
      }
      const code = randomUUID();
      codes.set(code, {
        handle,
        challenge: searchParams.get('code_challenge'),
        nonce: searchParams.get('nonce') ?? undefined,
      });
      const target = new URL(searchParams.get('redirect_uri'));
      target.searchParams.set('code', code);
      target.searchParams.set('state', searchParams.get('state'));
      response.writeHead(302, { location: target.href });
      return response.end();
    }
    case '/oauth2/token': {
      const form = await formOf(request);
      if (form.get('grant_type') === 'refresh_token') {
        const handle = refreshTokens.get(form.get('refresh_token'));
        return handle
          ? json(response, 200, grant(handle, undefined, form.get('refresh_token')))
          : json(response, 400, { error: 'invalid_grant' });
      }
      const code = codes.get(form.get('code'));
      codes.delete(form.get('code'));
      const challenge = createHash('sha256')
        .update(form.get('code_verifier') ?? '')
        .digest('base64url');
      return code?.challenge === challenge
        ? json(response, 200, grant(code.handle, code.nonce))
        : json(response, 400, { error: 'invalid_grant' });
    }
    case '/oauth2/revoke':
      refreshTokens.delete((await formOf(request)).get('token'));
      return json(response, 200, {});
    case '/logout':
      response.writeHead(302, { location: url.searchParams.get('logout_uri') });
      return response.end();
    default: {
      const isAsset = url.pathname.startsWith('/assets/');
      const file = join(dist, isAsset ? url.pathname : 'index.html');
      if (!existsSync(file)) return json(response, 404, {});
      response.writeHead(200, {
        'content-type': TYPES[extname(file)],
        'cache-control': isAsset ? 'public, max-age=31536000, immutable' : 'no-cache',
        'content-security-policy': CSP,
        'x-content-type-options': 'nosniff',
      });
      return response.end(readFileSync(file));
    }
  }
});
server.listen(Number(port), '127.0.0.1', () => console.log(origin));
