package services_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browserTime bounds what a test does in the browser, its start too.
const browserTime = 5 * time.Minute

// shopPage is a page of a shop on a host of its own. visit is a guest's visit: sign in, fill a cart,
// read it, and hear of its stock by both ways that pages read event streams. refusals asks what a
// page of a foreign origin would ask, and returns what it could read.
const shopPage = `<!doctype html><title>shop</title><script>
const json = {'Content-Type': 'application/json'};
const ask = async (path, options = {}) => {
	const answer = await fetch(path, options);
	return {status: answer.status, etag: answer.headers.get('ETag'), id: answer.headers.get('X-Request-Id'), body: await answer.json()};
};
const post = (path, body, headers = {}) => ask(path, {method: 'POST', headers: {...json, ...headers}, body: JSON.stringify(body)});
const signIn = (gateway, who) => post(gateway + '/v1/sessions', who);

const heard = url => new Promise((resolve, reject) => {
	const events = new EventSource(url);
	events.addEventListener('stock', e => { events.close(); resolve(e.data); });
	events.onerror = () => { events.close(); reject(new TypeError('the event stream is refused')); };
});
const read = async (url, headers) => {
	const stop = new AbortController();
	const answer = await fetch(url, {headers, signal: stop.signal});
	const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
	let text = '';
	while (!text.includes('event: stock')) {
		const {value, done} = await reader.read();
		if (done) break;
		text += value;
	}
	stop.abort();
	return text;
};

const visit = async (gateway, who) => {
	const session = await signIn(gateway, who);
	const me = await ask(gateway + '/v1/accounts/me', {headers: {Authorization: 'Bearer ' + session.body.access_token}});
	const made = await post(gateway + '/v1/carts', {}, {'Idempotency-Key': 'a-page-of-another-origin'});
	const cart = gateway + '/v1/carts/' + made.body.id, owner = {'Cart-Token': made.body.token};
	await ask(cart + '/lines/TEA', {method: 'PUT', headers: {...json, ...owner, 'If-Match': made.etag}, body: '{"quantity": 2}'});
	return {session, me, cart: await ask(cart, {headers: owner}), named: await heard(gateway + '/v1/carts/stock?sku=TEA'), own: await read(cart + '/stock', owner)};
};

const refusals = async (gateway, who) => {
	const got = {};
	for (const [what, attempt] of Object.entries({
		'a simple request': () => ask(gateway + '/v1/carts/stock'),
		'a sign-in': () => signIn(gateway, who),
		'a cart': () => ask(gateway + '/v1/carts/00000000-0000-0000-0000-000000000000', {headers: {'Cart-Token': 'x'}}),
		'an event stream': () => heard(gateway + '/v1/carts/stock?sku=TEA'),
	})) got[what] = await attempt().then(v => 'read ' + JSON.stringify(v), String);
	return got;
};
const withCookies = gateway => ask(gateway + '/v1/carts/stock', {credentials: 'include'}).then(v => 'read ' + JSON.stringify(v), String);
</script>`

// startBrowser starts a Chromium of the machine.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED: calls from pages of other origins are not tested with a real browser: there is no chromium (apt-get install chromium)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), browserTime)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(browserTime))...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	return ctx
}

// openShop serves the page at an origin of its own.
func openShop(t *testing.T) (origin string) {
	t.Helper()
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, shopPage)
	}))
	t.Cleanup(shop.Close)
	return shop.URL
}

// onPage opens the page of an origin and calls a function of it.
func onPage[T any](ctx context.Context, t *testing.T, origin, function string, args ...any) T {
	t.Helper()
	texts := make([]string, len(args))
	for i, arg := range args {
		text, err := json.Marshal(arg)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(origin)); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	script := fmt.Sprintf(`%s(%s).then(v => ({value: v}), e => ({error: String(e)}))`, function, strings.Join(texts, ","))
	type outcome struct {
		Value T
		Error string
	}
	got, err := chromedp.Run(ctx, chromedp.Evaluate[outcome](script, chromedp.EvalAwaitPromise))
	if err != nil || got.Error != "" {
		t.Fatalf("%s on the page of %s: %v %s", function, origin, err, got.Error)
	}
	return got.Value
}

// pageAnswer is what a page can read of an answer.
type pageAnswer struct {
	Status   int
	ETag, ID string
	Body     struct {
		ID        string
		AccountID string `json:"account_id"`
		Lines     []struct{ Quantity int }
	}
}

// A page whose origin the gateway's settings name shops through the gateway; the browser lets no
// other page read anything, and no page send cookies.
func TestPagesOfOtherOrigins(t *testing.T) {
	ctx := startBrowser(t)
	ours, foreign := openShop(t), openShop(t)
	p := newProcess(t, "gateway", "identity", "cart", "inventory")
	p.stop(os.Interrupt)
	p.env["QUADRILLE_ALLOWED_ORIGINS"] = ours
	p.env["QUADRILLE_IDENTITY_URL"] = "http://" + p.addr("identity", "HTTP_ADDR")
	p.env["QUADRILLE_ISSUER"] = p.env["QUADRILLE_IDENTITY_URL"]
	p.start()
	p.stock("TEA", 10)
	who := object{"email": "ann@example.com", "password": peoplesPassword}
	status, body := p.request(http.MethodPost, "http://"+p.addr("identity", "ADMIN_ADDR")+"/v1/accounts/provision",
		fmt.Sprintf(`{"email": "ann@example.com", "password": %q, "scopes": []}`, peoplesPassword))
	if status/100 != 2 {
		t.Fatalf("make the account: %d %s", status, body)
	}
	gateway := "http://" + p.addr("gateway", "HTTP_ADDR")

	t.Run("a page that is named", func(t *testing.T) {
		got := onPage[struct {
			Session, Me, Cart pageAnswer
			Named, Own        string
		}](ctx, t, ours, "visit", gateway, who)
		if got.Session.Status != http.StatusCreated || got.Me.Status != http.StatusOK || got.Me.Body.ID == "" || got.Me.Body.ID != got.Session.Body.AccountID || got.Me.ID == "" {
			t.Errorf("signed in with %+v, as %+v", got.Session, got.Me)
		}
		if c := got.Cart; c.Status != http.StatusOK || c.ETag == "" || len(c.Body.Lines) != 1 || c.Body.Lines[0].Quantity != 2 {
			t.Errorf("the cart is read as %+v", c)
		}
		for what, stream := range map[string]string{"EventSource": got.Named, "fetch": got.Own} {
			if !strings.Contains(stream, `"sku":"TEA"`) {
				t.Errorf("by %s: %s", what, stream)
			}
		}
	})
	t.Run("cookies", func(t *testing.T) {
		if got := onPage[string](ctx, t, ours, "withCookies", gateway); !strings.HasPrefix(got, "TypeError") {
			t.Errorf("a request with cookies: %s", got)
		}
	})
	t.Run("a page that is not named", func(t *testing.T) {
		got := onPage[map[string]string](ctx, t, foreign, "refusals", gateway, who)
		for what, outcome := range got {
			if !strings.HasPrefix(outcome, "TypeError") {
				t.Errorf("%s: %s", what, outcome)
			}
		}
		if len(got) != 4 {
			t.Errorf("asked %v", got)
		}
	})
	t.Run("preflights", func(t *testing.T) {
		for origin, want := range map[string][]string{ours: {ours}, foreign: nil, "null": nil} {
			h := preflight(t, gateway+"/v1/sessions", origin)
			if got := h["Access-Control-Allow-Origin"]; !slices.Equal(got, want) {
				t.Errorf("%s is answered with the origins %q", origin, got)
			}
			for name, values := range h {
				if strings.HasPrefix(name, "Access-Control-Allow-") && (want == nil || name == "Access-Control-Allow-Credentials" || slices.Contains(values, "*")) {
					t.Errorf("%s is answered with %s: %q", origin, name, values)
				}
			}
		}
	})
}

// preflight returns the headers that a browser is answered with before a page may post JSON.
func preflight(t *testing.T, url, origin string) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Origin", origin)
	req.Header.Set("Access-Control-Request-Method", http.MethodPost)
	req.Header.Set("Access-Control-Request-Headers", "content-type")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.Header
}
