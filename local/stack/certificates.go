package stack

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// The certificates of a private cluster of Kafka: the brokers', which is also the one of
// who has every right there, and that of who signed it.
const (
	brokerCert    = "kafka-broker.pem" // with its key
	authorityCert = "kafka-authority.pem"
	superUser     = "broker"
	certLifetime  = 10 * 365 * 24 * time.Hour // of a stack on one machine; quad down and wiping its folder makes others
)

// certifyKafka makes the certificates of a private cluster, the first time.
func (s *Stack) certifyKafka() error {
	if !s.kafkaSecured() {
		return nil
	}
	var err error
	if s.kafka.authority, err = os.ReadFile(s.secretFile(authorityCert)); errors.Is(err, fs.ErrNotExist) {
		s.kafka.authority, err = s.makeCertificates()
	}
	if err != nil {
		return fmt.Errorf("certificates of Kafka: %w", err)
	}
	return nil
}

func (s *Stack) makeCertificates() (authority []byte, err error) {
	signer, signerKey, err := newCertificate("quadrille kafka", nil, nil)
	if err != nil {
		return nil, err
	}
	leaf, key, err := newCertificate(superUser, signer, signerKey)
	if err != nil {
		return nil, err
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	authority = encodePEM("CERTIFICATE", signer.Raw)
	pair := append(encodePEM("PRIVATE KEY", encodedKey), encodePEM("CERTIFICATE", leaf.Raw)...)
	if err := os.WriteFile(s.secretFile(brokerCert), pair, 0o600); err != nil {
		return nil, err
	}
	return authority, os.WriteFile(s.secretFile(authorityCert), authority, 0o600)
}

// newCertificate makes a certificate for this machine, signed by another, or by itself if
// it is to sign others.
func newCertificate(name string, signer *x509.Certificate, signerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	const serialBits = 120
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certLifetime),
	}
	if signer == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		signer, signerKey = c, key
	} else {
		c.IPAddresses, c.KeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, x509.KeyUsageDigitalSignature
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, signer, &key.PublicKey, signerKey)
	if err != nil {
		return nil, nil, err
	}
	made, err := x509.ParseCertificate(raw)
	return made, key, err
}

func encodePEM(kind string, raw []byte) []byte {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: raw}) // a buffer takes everything
	return b.Bytes()
}

// clientTLS trusts the brokers of the private cluster.
func (s *Stack) clientTLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.kafka.authority)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// superTLS is clientTLS of who has every right.
func (s *Stack) superTLS() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(s.secretFile(brokerCert), s.secretFile(brokerCert))
	if err != nil {
		return nil, fmt.Errorf("certificate of Kafka's brokers: %w", err)
	}
	config := s.clientTLS()
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
