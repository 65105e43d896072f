package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// keys are what the API server proves itself with, and its one user.
type keys struct {
	cert, key, tokens string // files
	token             string
	trust             *tls.Config
}

// makeKeys makes a key and a certificate for loopback, and the token of an administrator.
func makeKeys(dir string) (*keys, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pkcs, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, err
	}
	k := &keys{
		cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), tokens: filepath.Join(dir, "tokens.csv"),
		token: rand.Text(), trust: &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13},
	}
	k.trust.RootCAs.AddCert(cert)
	for path, text := range map[string][]byte{
		k.cert:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		k.key:    pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: pkcs}),
		k.tokens: []byte(k.token + ",admin,1,\"system:masters\"\n"),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
	}
	return k, nil
}
