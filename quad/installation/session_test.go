package installation

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is in the session file decides what a command does, before it asks anybody.
func TestTheFileOfASession(t *testing.T) {
	const gateway = "https://shop.example"
	whole := fmt.Sprintf(`{"gateway":%q,"access_token":"a","access_ends":%q,"refresh_token":"r"}`, gateway, time.Now().Add(time.Hour).Format(time.RFC3339))
	for _, c := range []struct {
		name, file, text string
		mode             os.FileMode
		want             string // "" is a session
	}{
		{"whole", "there", whole, 0o600, ""},
		{"none", "", "", 0, "context there: nobody is signed in; sign in first: quad login EMAIL --context there"},
		{"of another context", "elsewhere", whole, 0o600, "nobody is signed in; sign in first"},
		{"open to others", "there", whole, 0o640, "others may read the session"},
		{"broken", "there", whole[:len(whole)/2], 0o600, "there is no whole session"},
		{"empty", "there", "", 0o600, "there is no whole session"},
		{"without a refresh token", "there", strings.Replace(whole, `"r"`, `""`, 1), 0o600, "there is no whole session"},
		{"of another gateway", "there", strings.Replace(whole, gateway, "https://staging.example", 1), 0o600,
			"is one at https://staging.example, and the gateway is https://shop.example; quad login EMAIL --context there replaces it"},
		{"a folder", "there", "folder", 0, "the session cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := open(t, "contexts: {there: {services: {gateway: {public: '"+gateway+"', no_database: true}}}}")
			path := filepath.Join(filepath.Dir(i.where), c.file+".session.json")
			var err error
			switch {
			case c.text == "folder":
				err = os.Mkdir(path, 0o700)
			case c.file != "":
				err = errors.Join(os.WriteFile(path, []byte(c.text), c.mode), os.Chmod(path, c.mode))
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = i.Person(t.Context())
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if _, ok := errors.AsType[*EnvironmentError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want an EnvironmentError with %q", err, c.want)
			}
		})
	}
	i := open(t, "contexts: {there: {services: {identity: {public: '"+gateway+"'}}}}")
	if _, err := i.Person(t.Context()); err == nil || !strings.Contains(err.Error(), "services.gateway.public: is not set") {
		t.Errorf("without a gateway the error is %v", err)
	}
}

// A session is kept for its owner alone, over whatever was there, and in the folder of the
// stack for the one on this machine.
func TestASessionIsKeptForItsOwner(t *testing.T) {
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": "a", "expires_in": 300, "refresh_token": "r",
			"account_id": "019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3a", "session_id": "019aa0c2-6f0e-7d51-b1a7-1e1e4c0e9d3b",
		})
	}))
	defer gateway.Close()
	local := Open(Local, Context{Services: map[string]Service{"gateway": {Public: gateway.URL}}, Dir: t.TempDir()}, Options{})
	t.Cleanup(local.Close)
	there := open(t, "contexts: {there: {services: {gateway: {public: '"+gateway.URL+"', no_database: true}}}}")
	for path, i := range map[string]*Installation{
		filepath.Join(local.Dir, "session.json"):                       local,
		filepath.Join(filepath.Dir(there.where), "there.session.json"): there,
	} {
		if err := errors.Join(os.WriteFile(path, []byte("broken"), 0o644), os.Chmod(path, 0o644)); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Login(t.Context(), "ann@example.com", "secret of ann"); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file of %s is %v, %v, want mode 0600", i.Name, info.Mode(), err)
		}
		text, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(text), "ann") {
			t.Errorf("the file of %s is %s, %v, want neither the address nor the password in it", i.Name, text, err)
		}
		if _, err := i.Person(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
