package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/dapr"
	"quadrille.internal/platform/service"
	"quadrille.internal/services"
)

// A service starts with what its manifests give it: each service opens with the ConfigMap and the
// secrets of each environment, misses nothing, and reads all.
func TestManifestsStartTheirService(t *testing.T) {
	for _, environment := range environments {
		for _, spec := range services.All() {
			t.Run(environment+"/"+spec.Name, func(t *testing.T) {
				env := settingsIn(t, environment, spec.Name)
				read := mounted(t, spec.Name, env, workloadOf(t, spec.Name))
				reader := config.NewReader(lookup(env))
				instance, err := service.Open(context.Background(), spec, service.Host{
					Config: reader, Log: io.Discard, Network: dapr.Network{}, Migrate: "migrate",
				})
				if instance != nil {
					defer instance.Close()
				}
				if err := errors.Join(err, reader.Err()); err != nil {
					t.Fatal(err)
				}
				for _, set := range reader.Settings() {
					read[set.Name] = true
				}
				for _, name := range slices.Concat(config.OfProcess, []string{"OTEL_EXPORTER_OTLP_ENDPOINT"}) {
					read[name] = true
				}
				for name := range env {
					if !read[name] && !read[strings.TrimSuffix(name, "_FILE")] {
						t.Errorf("the manifests set %s, which %s does not read", name, spec.Name)
					}
				}
			})
		}
	}
}

// The job that migrates has what that command wants: the owner's credentials and the name of the
// role that serves.
func TestManifestsStartTheMigration(t *testing.T) {
	for _, spec := range services.All() {
		if !spec.HasDatabase() {
			continue
		}
		t.Run(spec.Name, func(t *testing.T) {
			job := readManifest(t, filepath.Join(base(spec.Name), "migration.yaml"))
			env := make(map[string]string)
			for _, v := range job.Spec.Template.Spec.Containers[0].Env {
				env[v.Name] = v.Value
			}
			mounted(t, spec.Name, env, job)
			reader := config.NewReader(lookup(env))
			service.NewMigration(spec, reader, io.Discard)
			if err := reader.Err(); err != nil {
				t.Error(err)
			}
			if url, err := config.ReadSecret(env["QUADRILLE_MIGRATE_DATABASE_URL_FILE"]); err != nil || !strings.HasPrefix(url.Reveal(), "postgres://"+spec.Name+"_owner:") {
				t.Errorf("it does not migrate as the owner: %v", err)
			}
			if got := env["QUADRILLE_DATABASE_ROLE"]; got != spec.Name {
				t.Errorf("it lets the role %q serve, want %s", got, spec.Name)
			}
		})
	}
}

// Each environment says where the image of each service is, in one place.
func TestEnvironmentsHaveAllImages(t *testing.T) {
	for _, environment := range environments {
		var have, want []string
		for _, image := range component(t, environment).Images {
			have = append(have, image.Name)
		}
		for _, spec := range services.All() {
			want = append(want, "quadrille-"+spec.Name)
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Errorf("deploy/environments/%s has images of %v, want %v", environment, have, want)
		}
	}
}

// Nothing in git is a secret: what the services need of that kind is named, and comes from the
// store.
func TestManifestsHoldNoSecrets(t *testing.T) {
	found := 0
	for _, root := range []string{servicesFolder, platformFolder, "deploy/environments", "deploy/argocd"} {
		err := filepath.WalkDir(filepath.Join(repository, root), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if regexp.MustCompile(`(?m)^kind: Secret$`).Match(text) {
				t.Errorf("%s has a secret", path)
			}
			found += strings.Count(string(text), "kind: ExternalSecret")
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if found < 40 {
		t.Errorf("only %d references to secrets", found)
	}
}

// manifest is the part of an object that these tests look at.
type manifest struct {
	Metadata struct{ Name string }
	Spec     struct {
		Target struct {
			Template struct{ Data map[string]string }
		}
		Data []struct {
			SecretKey string `yaml:"secretKey"`
		}
		Template struct {
			Spec struct {
				Containers []struct {
					Env []struct{ Name, Value string }
				}
				Volumes []struct {
					Name      string
					Projected struct {
						Sources []struct {
							Secret struct {
								Name  string
								Items []struct{ Key, Path string }
							}
						}
					}
				}
			}
		}
	}
}

// kustomized is the part of a kustomization that these tests look at.
type kustomized struct {
	Images     []struct{ Name string }
	Generators []struct {
		Name     string
		Literals []string
	} `yaml:"configMapGenerator"`
	Patches []struct {
		Target struct {
			Kind, Name    string
			LabelSelector string `yaml:"labelSelector"`
		}
		Patch string
	}
}

func base(name string) string { return filepath.Join(repository, servicesFolder, name, "base") }

func component(t *testing.T, environment string) (k kustomized) {
	t.Helper()
	readYAML(t, filepath.Join(repository, "deploy/environments", environment, "kustomization.yaml"), &k)
	return k
}

// settingsIn is the ConfigMap of a service as kustomize makes it for an environment.
func settingsIn(t *testing.T, environment, name string) map[string]string {
	t.Helper()
	var k kustomized
	readYAML(t, filepath.Join(base(name), "kustomization.yaml"), &k)
	env := make(map[string]string)
	for _, literal := range k.Generators[0].Literals {
		name, v, _ := strings.Cut(literal, "=")
		env[name] = v
	}
	for _, p := range component(t, environment).Patches {
		if p.Target.Kind != "ConfigMap" || p.Target.LabelSelector == "" && p.Target.Name != name {
			continue
		}
		var patch struct{ Data map[string]string }
		if err := yaml.Unmarshal([]byte(p.Patch), &patch); err != nil {
			t.Fatal(err)
		}
		for name, v := range patch.Data {
			env[name] = v
		}
	}
	return env
}

func workloadOf(t *testing.T, name string) manifest {
	t.Helper()
	file := "deployment.yaml"
	if sizeOf(name).Canary {
		file = "rollout.yaml"
	}
	return readManifest(t, filepath.Join(base(name), file))
}

// mounted writes the secrets that a pod mounts as the store would give them, has env name these
// files, and returns an empty set.
func mounted(t *testing.T, name string, env map[string]string, pod manifest) map[string]bool {
	t.Helper()
	dir := t.TempDir()
	made := slices.Concat(readManifests(t, filepath.Join(base(name), "secrets.yaml")),
		readManifests(t, filepath.Join(repository, platformFolder, "postgres/secrets.yaml")))
	for _, source := range pod.Spec.Template.Spec.Volumes[0].Projected.Sources {
		for _, item := range source.Secret.Items {
			text := authorityPEM(t)
			if source.Secret.Name != authority {
				text = valueOf(t, made, source.Secret.Name, item.Key)
			}
			text = strings.ReplaceAll(text, "/secrets/", dir+"/")
			if err := os.WriteFile(filepath.Join(dir, item.Path), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, v := range env {
		env[name] = strings.Replace(v, "/secrets/", dir+"/", 1)
	}
	return make(map[string]bool)
}

// valueOf is a key of a secret that External Secrets makes, all of whose parts are 64 hexadecimal
// digits.
func valueOf(t *testing.T, made []manifest, name, key string) string {
	t.Helper()
	random := strings.Repeat("0f", 32)
	for _, m := range made {
		if m.Metadata.Name != name {
			continue
		}
		if text, ok := m.Spec.Target.Template.Data[key]; ok {
			return strings.ReplaceAll(text, "{{ .password }}", random)
		}
		for _, d := range m.Spec.Data {
			if d.SecretKey == key {
				return random
			}
		}
	}
	t.Fatalf("nothing makes the key %s of the secret %s", key, name)
	return ""
}

// authorityPEM is a certificate as CloudNativePG's authority has.
func authorityPEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

func readManifest(t *testing.T, path string) manifest {
	t.Helper()
	return readManifests(t, path)[0]
}

func readManifests(t *testing.T, path string) (list []manifest) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for decoder := yaml.NewDecoder(file); ; {
		var m manifest
		switch err := decoder.Decode(&m); {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, m)
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
