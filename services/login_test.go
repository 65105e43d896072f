package services_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b/wire"
)

// manager has the operator's command, contexts of his own that know only the gateway, and
// no credentials but those that he signs in with.
type manager struct {
	t            *testing.T
	program, dir string
}

func newManager(t *testing.T, gateway string) manager {
	t.Helper()
	m := manager{t: t, program: filepath.Join(t.TempDir(), "quad"), dir: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", m.program, ".")
	build.Dir, build.Env = "../quad", append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build quad: %v\n%s", err, out)
	}
	text := "current: shop\ncontexts:\n"
	for _, name := range []string{"shop", "other"} {
		text += fmt.Sprintf("  %s: {services: {gateway: {public: %q, no_database: true}}}\n", name, gateway)
	}
	if err := os.WriteFile(m.file("contexts.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m manager) file(name string) string { return filepath.Join(m.dir, name) }

// quad returns the exit code of a command, and what it printed. It may be called from any
// goroutine.
func (m manager) quad(stdin string, args ...string) (code int, stdout, stderr string) {
	cmd := exec.CommandContext(m.t.Context(), m.program, args...)
	cmd.Env, cmd.Stdin = []string{"QUADRILLE_CONFIG=" + m.file("contexts.yaml"), "PATH="}, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			m.t.Error(err)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must is quad for what ends with this exit code, and says this.
func (m manager) must(code int, says, stdin string, args ...string) (stdout string) {
	m.t.Helper()
	got, stdout, stderr := m.quad(stdin, args...)
	if got != code || !strings.Contains(stdout+stderr, says) {
		m.t.Fatalf("quad %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), got, code, says, stdout, stderr)
	}
	return stdout
}

// kept is what the session file holds.
func (m manager) kept() (s map[string]any) {
	m.t.Helper()
	text, err := os.ReadFile(m.file("shop.session.json"))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// age has the access token of the session file end now.
func (m manager) age() {
	m.t.Helper()
	s := m.kept()
	s["access_ends"] = time.Now()
	text, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(m.file("shop.session.json"), text, 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// account makes an account of acme, and returns its id.
func (h *house) account(name, scopes string) string {
	h.t.Helper()
	_, answer := h.request(http.MethodPost, "http://"+h.addr("identity", "ADMIN_ADDR")+"/v1/accounts/provision",
		fmt.Sprintf(`{"email":%q,"password":%q,"scopes":[%s],"company":"acme"}`, emailOf(name), password, scopes))
	var made struct{ ID uuid.UUID }
	if err := json.Unmarshal(answer, &made); err != nil || made.ID == uuid.Nil {
		h.t.Fatalf("make the account %s: %s, %v", name, answer, err)
	}
	return made.ID.String()
}

// awaiting has carl order for acme what alice must approve.
func (h *house) awaiting(alice, carl string) string {
	h.t.Helper()
	h.operate("b2b", http.MethodPut, "/v1/b2b/companies/acme", fmt.Sprintf(`{"name":"acme","currency":"GBP","credit_limit":1000000,"warehouses":["leeds"],"policy":{
		"rules":[{"from":1000,"need":1}],"approvers":[{"id":%q,"limit":1000000,"level":1}],"delegations":[],
		"remind_after":"0s","escalate_after":"0s","expire_after":"1h"}}`, alice))
	token := h.signInAgain("carl")
	id := fmt.Sprint(h.got(http.StatusAccepted, token, http.MethodPost, "/v1/b2b/orders", fmt.Sprintf(
		`{"company_id":"acme","ordered_by":%q,"lines":[{"sku":"TEA","quantity":1,"unit_price":2000}]}`, carl))["id"])
	servicetest.Await(h.t, "the order waits for alice", func() bool {
		return h.got(http.StatusOK, token, http.MethodGet, "/v1/b2b/orders/"+id, "")["status"] == "awaiting_approval"
	})
	return id
}

// A manager signs in with quad and approves as who he is. Only the gateway and his password
// are needed for that.
func TestAManagerApprovesAsWhoSignedIn(t *testing.T) {
	h := newHouse(t)
	m := newManager(t, "http://"+h.addr("gateway", "HTTP_ADDR"))
	alice, carl := h.account("alice", `"approver"`), h.account("carl", "")
	order := h.awaiting(alice, carl)

	const first = "sign in first: quad login EMAIL --context shop"
	m.must(3, first, "", "b2b", "approve", order)
	m.must(3, first, "", "b2b", "approvals")
	m.must(3, first, "", "whoami")
	m.must(0, "nobody was signed in", "", "logout")
	m.must(2, "--password-stdin", password, "login", emailOf("alice"))
	m.must(1, "the password is wrong", "not "+password, "login", emailOf("alice"), "--password-stdin")
	m.must(0, "signed in as "+alice, password+"\n", "login", emailOf("alice"), "--password-stdin")

	var who struct {
		ID, Company string
		Scopes      []string
		SessionEnds time.Time `json:"session_ends"`
	}
	if err := json.Unmarshal([]byte(m.must(0, "", "", "whoami", "--json")), &who); err != nil || who.ID != alice || who.Company != "acme" ||
		fmt.Sprint(who.Scopes) != "[approver]" || time.Until(who.SessionEnds) < time.Hour {
		t.Errorf("whoami says %+v, %v", who, err)
	}
	m.must(0, order, "", "b2b", "approvals")
	m.must(3, "services.b2b.admin", "", "b2b", "approve", order, "--by", alice) // which is an operator's way

	m.must(0, "signed in as "+carl, password, "login", emailOf("carl"), "--password-stdin", "--context", "other")
	m.must(1, "403 scope_missing", "", "b2b", "approve", order, "--context", "other")
	m.must(0, "order "+order+" is", "", "b2b", "approve", order, "--reason", "as agreed")
	var decided wire.Order
	_, body := h.request(http.MethodGet, h.orderURL(uuid.MustParse(order)), "")
	if err := json.Unmarshal(body, &decided); err != nil || len(decided.Decisions) != 1 || decided.Decisions[0].Approver != alice {
		t.Errorf("the decisions are %+v, %v, want one by %s", decided.Decisions, err, alice)
	}
}

// Commands that refresh at the same time go on with one session, whose old refresh token is
// not kept. It ends by quad logout, by the next quad login and by an operator.
func TestASessionOfQuadLastsUntilItIsEnded(t *testing.T) {
	h := newHouse(t)
	m := newManager(t, "http://"+h.addr("gateway", "HTTP_ADDR"))
	alice := h.account("alice", `"approver"`)
	login := func() { m.must(0, alice, password, "login", emailOf("alice"), "--password-stdin") }
	ended := func(token any) bool {
		status, _ := h.ask("", http.MethodPost, "/v1/tokens", fmt.Sprintf("grant_type=refresh_token&refresh_token=%v", token), "Content-Type", "application/x-www-form-urlencoded")
		return status == http.StatusBadRequest
	}
	login()
	for range 3 {
		before := m.kept()["refresh_token"]
		m.age()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if code, stdout, stderr := m.quad("", "whoami"); code != 0 {
					t.Errorf("of four commands at once: %s%s", stdout, stderr)
				}
			})
		}
		all.Wait()
		if m.kept()["refresh_token"] == before {
			t.Fatal("the refresh token is still in the file though it was exchanged")
		}
	}

	before := m.kept()["refresh_token"]
	login()
	if !ended(before) {
		t.Error("the session before goes on after quad login")
	}
	before = m.kept()["refresh_token"]
	m.must(0, "signed out", "", "logout")
	if _, err := os.Stat(m.file("shop.session.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there after quad logout: %v", err)
	}
	if !ended(before) {
		t.Error("the session goes on after quad logout")
	}

	login()
	m.must(0, alice, password, "login", emailOf("alice"), "--password-stdin", "--context", "other")
	m.must(0, "removed", "", "context", "rm", "other")
	if _, err := os.Stat(m.file("other.session.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the session of a context that was removed is there: %v", err)
	}
	h.operate("identity", http.MethodDelete, "/v1/accounts/"+alice+"/sessions", "")
	m.age()
	m.must(3, "the session has ended; sign in again: quad login", "", "whoami")
}
