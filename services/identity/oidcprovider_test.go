package identity

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	clientID     = "shop"
	clientSecret = "the client's secret"
	shopPages    = "http://localhost:9" // nobody listens: tests read where they are sent
	redirectURL  = shopPages + "/signed-in"
	installTime  = 3 * time.Minute
)

// oidcProvider is npm's oidc-provider, a process of its own.
type oidcProvider struct {
	t      *testing.T
	issuer string
}

// installOIDCProvider installs it below .local, where it stays until its lock file changes.
var installOIDCProvider = sync.OnceValues(func() (dir string, err error) {
	source, err := filepath.Abs("testdata/oidc-provider")
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json", "server.mjs"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		hash.Write(text)
	}
	dir = filepath.Join(source, "../../../../.local/oidc-provider", hex.EncodeToString(hash.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "install")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	if err := os.CopyFS(fresh, os.DirFS(source)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTime)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = fresh
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	err = os.Rename(fresh, dir)
	if _, there := os.Stat(dir); there == nil { // another test process was quicker
		return dir, nil
	}
	return dir, err
})

// startOIDCProvider starts the provider with one client.
func startOIDCProvider(t *testing.T) oidcProvider {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("SKIPPED: sign-in by a real OpenID provider is not tested: there is no npm, with which oidc-provider is installed")
	}
	dir, err := installOIDCProvider()
	if err != nil {
		t.Skipf("SKIPPED: sign-in by a real OpenID provider is not tested: oidc-provider cannot be installed: %v", err)
	}
	cmd := exec.Command("node", "server.mjs", clientID, clientSecret, redirectURL)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	drained := make(chan struct{})
	t.Cleanup(func() {
		_ = stdin.Close() // it ends then
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		_ = cmd.Wait()
	})
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			close(drained)
			t.Fatalf("oidc-provider did not start: %v", err)
		}
		if strings.HasPrefix(line, "http") {
			go func() { defer close(drained); _, _ = io.Copy(io.Discard, lines) }()
			return oidcProvider{t, strings.TrimSpace(line)}
		}
	}
}

var action = regexp.MustCompile(`<form autocomplete="off" action="([^"]+)"`)

// signIn does what a person does in the browser: enters a name and agrees. It returns what
// the provider sends the browser back with.
func (p oidcProvider) signIn(to, name string) url.Values {
	p.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	back := errors.New("sent back")
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirectURL) {
			return back
		}
		return nil
	}}
	res, err := browser.Get(to)
	for _, form := range []url.Values{
		{"prompt": {"login"}, "login": {name}, "password": {"any"}},
		{"prompt": {"consent"}},
	} {
		if err != nil {
			p.t.Fatalf("sign in at the provider: %v", err)
		}
		page, err := io.ReadAll(res.Body)
		if err != nil {
			p.t.Fatal(err)
		}
		_ = res.Body.Close()
		target := action.FindSubmatch(page)
		if target == nil {
			p.t.Fatalf("%s answered %d without a form:\n%s", res.Request.URL, res.StatusCode, page)
		}
		res, err = browser.PostForm(string(target[1]), form)
		if errors.Is(err, back) {
			sent, perr := url.Parse(res.Header.Get("Location"))
			if perr != nil {
				p.t.Fatal(perr)
			}
			return sent.Query()
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	p.t.Fatalf("the provider did not send %s back", name)
	return nil
}

func (p oidcProvider) party() *relyingParty {
	party := newRelyingParty(openIDProvider{Name: "local", Issuer: p.issuer, ClientID: clientID, ClientSecret: clientSecret}, redirectURL)
	party.http.Timeout = time.Minute // on a machine that is busy
	p.t.Cleanup(party.http.CloseIdleConnections)
	return party
}
