package stack

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	// authorityTTL outlives any local stack; the certificates that sentry gives out with
	// it last a day (components/*/config.yaml).
	authorityTTL = 10 * 365 * 24 * time.Hour
	// clockSkew is how wrong a clock may be that looks at a new authority.
	clockSkew = 15 * time.Minute
)

// caDir holds the authority's keys and nothing else: sentry starts again whenever a
// file in it changes.
func (s *Stack) caDir() string { return s.secretFile("ca") }

// trustAnchors is the certificate that all others are traced back to; no secret.
func (s *Stack) trustAnchors() string { return filepath.Join(s.caDir(), "ca.crt") }

// startSentry runs Dapr's certificate authority: sidecars and the control plane prove to
// each other who they are with its certificates.
func (s *Stack) startSentry(ctx context.Context) error {
	if s.alreadyRunning("sentry", s.addr(sentryPort)) {
		return nil
	}
	if _, err := os.Stat(s.caDir()); errors.Is(err, fs.ErrNotExist) {
		if err := s.makeAuthority(); err != nil {
			return fmt.Errorf("make a certificate authority: %w", err)
		}
	}
	return s.start(ctx, command{name: "sentry", dir: s.Dir, args: []string{
		s.daprBin("sentry"),
		"--config", s.run.Common.ConfigFilePath, // its section mtls
		"--issuer-credentials", s.caDir(),
		"--listen-address", "127.0.0.1", "--port", s.port(sentryPort),
		"--healthz-port", s.port(sentryHealthPort),
		"--enable-metrics=false", // which would be on every address
		"--log-level", "warn",
	}}, s.addr(sentryPort), httpOK("http://"+s.addr(sentryHealthPort)+"/healthz"))
}

// makeAuthority makes a root, whose key is thrown away, and the issuer below it that
// sentry signs with. Sentry would make them by itself, but for a year only, and start
// again for each file it writes.
func (s *Stack) makeAuthority() error {
	rootPublic, rootKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	issuerPublic, issuerKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	root, issuer := authorityCertificate("localhost"), authorityCertificate("spiffe://localhost/ns/default/dapr-sentry")
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootPublic, rootKey)
	if err != nil {
		return err
	}
	issuerDER, err := x509.CreateCertificate(rand.Reader, issuer, root, issuerPublic, rootKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(issuerKey)
	if err != nil {
		return err
	}
	return s.writeAuthority(map[string]*pem.Block{
		"ca.crt":     {Type: "CERTIFICATE", Bytes: rootDER},
		"issuer.crt": {Type: "CERTIFICATE", Bytes: issuerDER},
		"issuer.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	})
}

func authorityCertificate(organization string) *x509.Certificate {
	var serial [16]byte
	_, _ = rand.Read(serial[:]) // never fails: crypto/rand ends the process instead
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[1:]),
		Subject:      pkix.Name{Organization: []string{organization}},
		NotBefore:    time.Now().Add(-clockSkew),
		NotAfter:     time.Now().Add(authorityTTL),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:         true, BasicConstraintsValid: true,
	}
}

// writeAuthority makes the folder whole or not at all.
func (s *Stack) writeAuthority(files map[string]*pem.Block) error {
	fresh := s.caDir() + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o700)); err != nil {
		return err
	}
	for name, block := range files {
		if err := os.WriteFile(filepath.Join(fresh, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return os.Rename(fresh, s.caDir())
}
