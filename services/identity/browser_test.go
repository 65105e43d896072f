package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// browserTime bounds what a test does in the browser, its start too.
const browserTime = 5 * time.Minute

// browser is a Chromium with one page of the shop and one authenticator.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp has the page in it
	// shop is where the page is.
	shop          string
	authenticator webauthn.AuthenticatorID
}

// page has the part of a shop's page that talks to the authenticator. Chromium itself reads
// and writes the JSON of both.
const page = `<!doctype html><title>shop</title><script>
const add = async options => JSON.stringify(await navigator.credentials.create({
	publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey)}));
const use = async options => JSON.stringify(await navigator.credentials.get({
	publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey)}));
</script>`

// startBrowser starts a Chromium of the machine, with an authenticator that has a finger.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED: passkeys are not tested with a real browser: there is no chromium (apt-get install chromium)")
	}
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, page)
	}))
	t.Cleanup(shop.Close)
	b := &browser{t: t, shop: strings.Replace(shop.URL, "127.0.0.1", "localhost", 1)} // an address has no passkeys

	ctx, cancel := context.WithTimeout(context.Background(), browserTime)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(browserTime))...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	b.ctx = ctx
	if err := chromedp.Do(ctx, chromedp.Navigate(b.shop)); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	call(b, webauthn.Enable, webauthn.EnableParams{})
	b.authenticator = call(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}}).AuthenticatorID
	return b
}

func call[P, R any](b *browser, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	r, err := chromedp.Call(b.ctx, c, params)
	if err != nil {
		b.t.Fatalf("%s: %v", c.Method, err)
	}
	return r
}

// run calls a function of the page with options and returns the credential, or why there is
// none.
func (b *browser) run(function string, options any) (json.RawMessage, error) {
	b.t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		b.t.Fatal(err)
	}
	script := fmt.Sprintf(`%s(%s).then(v => ({value: v}), e => ({error: String(e)}))`, function, text)
	type outcome struct{ Value, Error string }
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[outcome](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", function, err)
	}
	if got.Error != "" {
		return nil, errors.New(got.Error)
	}
	return json.RawMessage(got.Value), nil
}

// credentials are those that the authenticator has.
func (b *browser) credentials() []*webauthn.Credential {
	b.t.Helper()
	return call(b, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: b.authenticator}).Credentials
}

func (b *browser) userIsVerified(is bool) {
	b.t.Helper()
	call(b, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: b.authenticator, IsUserVerified: is})
}
