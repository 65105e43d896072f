package services_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"quadrille.internal/services"
)

const (
	// What the fuzzer has, in seconds, for all public routes and for the operators' of a service.
	publicTime   = "45"
	operatorTime = "5"
	// operatorsOnly are the operations that want the operators' token.
	operatorsOnly = "/security/0/token == []"
)

// elsewhere are the tags of ports that every service has alike.
var elsewhere = []string{"--exclude-tag", "admin", "--exclude-tag", "bridge", "--exclude-tag", "health"}

// Whatever a request holds that the document allows, or forbids, no service fails at it, and
// each answer is one that the document has. The fuzzer is schemathesis; it asks by the
// gateway, and operators' routes on their own ports.
func TestTheAPIIsAsItsDocumentSays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two minutes")
	}
	program, err := schemathesis(t.Context())
	if err != nil {
		t.Skipf("SKIPPED: schemathesis cannot be had, so the API is not held against its document: %v", err)
	}
	var names []string
	for _, s := range services.All() {
		names = append(names, s.Name)
	}
	p := newProcess(t, names...)
	p.stop(os.Interrupt)
	for _, unlimited := range []string{"ADDRESS_RATE", "ADDRESS_BURST", "CALLER_RATE", "CALLER_BURST"} {
		p.set("gateway", unlimited, "1000000")
	}
	p.start()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	public := append([]string{"--max-time", publicTime, "--exclude-by", operatorsOnly}, elsewhere...)
	p.fuzz(ctx, program, "http://"+p.addr("gateway", "HTTP_ADDR"), public...)
	for _, name := range names {
		p.fuzz(ctx, program, "http://"+p.addr(name, "ADMIN_ADDR"), "--max-time", operatorTime, "--include-tag", name, "--exclude-by", "/security/0/token != []",
			"--exclude-operation-id", "importProducts", // its media type is none that the fuzzer writes
			"--header", "Authorization: Bearer "+adminToken)
	}
}

// fuzz sends requests to a port, and reports answers that the document lacks.
func (p *process) fuzz(ctx context.Context, program, url string, args ...string) {
	p.t.Helper()
	document, err := filepath.Abs("../docs/openapi.yaml")
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"run", document, "--url", url,
		"--checks", "not_a_server_error,status_code_conformance,response_schema_conformance,content_type_conformance",
		"--phases", "examples,coverage,fuzzing", "--seed", "1", "--generation-deterministic", "--no-color", "--warnings", "off"}, args...)...)
	cmd.Dir = p.t.TempDir()
	out, err := cmd.CombinedOutput()
	if bytes.Contains(out, []byte("No operations")) { // a service without routes for operators
		return
	}
	sent := generated.Find(out)
	if err != nil || sent == nil {
		p.t.Errorf("%s: %v\n%s", url, err, out)
	}
	p.t.Logf("%s: %s", url, sent)
}

// generated is how the fuzzer says how many requests it has sent.
var generated = regexp.MustCompile(`[1-9][0-9]* generated`)

// schemathesis installs what testdata/fuzzer/requirements.txt pins, once, below .local.
func schemathesis(ctx context.Context) (program string, err error) {
	list, err := filepath.Abs("testdata/fuzzer/requirements.txt")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	dir := filepath.Join(filepath.Dir(list), "../../../.local/fuzzer", hex.EncodeToString(sum[:8]))
	program = filepath.Join(dir, "bin", "st")
	if _, err := os.Stat(filepath.Join(dir, "installed")); err == nil {
		return program, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", dir},
		{filepath.Join(dir, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "--requirement", list},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", errors.Join(fmt.Errorf("%s: %w\n%s", args[0], err, out), os.RemoveAll(dir))
		}
	}
	return program, os.WriteFile(filepath.Join(dir, "installed"), nil, 0o600)
}
