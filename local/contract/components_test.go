package contract

import (
	"path/filepath"
	"regexp"
	"testing"

	"quadrille.internal/local/release"
)

// Who may call what is generated; it counts only where all else is denied.
func TestAccessControlDeniesByDefault(t *testing.T) {
	for _, folder := range []string{"local", "kafka"} {
		spec := component(t, filepath.Join("components", folder, "config.yaml")).child("spec")
		access := spec.child("accessControl")
		if spec.child("mtls").child("enabled").value != true || access.child("defaultAction").text() != "deny" {
			t.Errorf("%s: without mTLS and a default of deny there is no access control", folder)
		}
		policies := access.child("policies")
		if len(policies.keys()) == 0 {
			t.Errorf("%s: nobody may call anything", folder)
		}
		for _, i := range policies.keys() {
			if p := policies.child(i); p.child("defaultAction").text() != "deny" {
				t.Errorf("%s: %s may do what is not named", folder, p.child("appId").text())
			}
		}
	}
}

// A sidecar whose name was removed ends itself, and Dapr's clean-up removes those in force.
func TestNamesAreNeverCleanedUp(t *testing.T) {
	for _, folder := range []string{"local", "kafka"} {
		names := component(t, filepath.Join("components", folder, "config.yaml")).child("spec").child("nameResolution")
		if component, every := names.child("component").text(), names.child("configuration").child("cleanupInterval").text(); component == "sqlite" && every != "0s" {
			t.Errorf("%s: names are cleaned up every %q (an hour by default), want 0s: never", folder, every)
		}
	}
}

// A service commands its own workflows, and needs no rule for that.
func TestNobodyElseCommandsWorkflows(t *testing.T) {
	for _, folder := range []string{"local", "kafka"} {
		policy := component(t, filepath.Join("components", folder, "workflows.yaml"))
		if kind := policy.child("kind").text(); kind != "WorkflowAccessPolicy" {
			t.Errorf("%s: kind %q", folder, kind)
		}
		if len(policy.child("scopes").keys()) == 0 {
			t.Errorf("%s: the policy is for no app", folder)
		}
		if n := len(policy.child("spec").child("rules").keys()); n > 0 {
			t.Errorf("%s: %d rules let others in", folder, n)
		}
	}
}

// Credentials are in the secret store, which no service may ask.
func TestComponentsTakeCredentialsFromTheSecretStore(t *testing.T) {
	secret := regexp.MustCompile("(?i)password|username|connectionString|clientKey|clientCert|token|secretKey$")
	root, err := release.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"local", "kafka"} {
		files, err := filepath.Glob(filepath.Join(root, "components", folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			c := component(t, filepath.Join("components", folder, filepath.Base(file)))
			if c.child("kind").text() != "Component" {
				continue
			}
			if len(c.child("scopes").keys()) == 0 {
				t.Errorf("any app may load %s", file)
			}
			items := c.child("spec").child("metadata")
			for _, i := range items.keys() {
				name := items.child(i).child("name").text()
				if !secret.MatchString(name) {
					continue
				}
				if items.child(i).child("secretKeyRef").value == nil || c.child("auth").child("secretStore").text() != "secrets" {
					t.Errorf("%s: %s is not taken from the secret store", file, name)
				}
			}
		}
		scopes := component(t, filepath.Join("components", folder, "config.yaml")).child("spec").child("secrets").child("scopes")
		denied := set()
		for _, i := range scopes.keys() {
			denied[scopes.child(i).child("storeName").text()] = scopes.child(i).child("defaultAccess").text() == "deny"
		}
		same(t, folder+": stores that no service may ask", denied, set("secrets", "kubernetes"))
	}
}

func component(t *testing.T, path string) node {
	t.Helper()
	root, err := release.Root()
	if err != nil {
		t.Fatal(err)
	}
	value, err := readYAML(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return node{value: value}
}
