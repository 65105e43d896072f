// An OpenID provider for tests, on a port of its own. It knows one client, and everybody by
// the name that they enter: "unverified-..." has an address that was never verified, all
// others have one that was. It prints its issuer once it listens.
import { createServer } from 'node:http';
import { once } from 'node:events';
import Provider from 'oidc-provider';

const [clientId, clientSecret, redirectUri] = process.argv.slice(2);

let handle;
const server = createServer((req, res) => handle(req, res));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: clientId,
    client_secret: clientSecret,
    redirect_uris: [redirectUri],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['a-key-for-tests'] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      email: `${id.replace(/^unverified-/, '')}@shop.example`,
      email_verified: !id.startsWith('unverified-'),
    }),
  }),
});
handle = provider.callback();
console.log(issuer);
process.stdin.resume().on('end', () => process.exit(0));
