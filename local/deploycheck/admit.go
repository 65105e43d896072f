package deploycheck

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"quadrille.internal/local/kube"
)

// unavailable are groups whose CRDs no Go module brings. Their objects are only decoded.
var unavailable = []string{"postgresql.cnpg.io", "kafka.strimzi.io", "cert-manager.io"}

// first are kinds that others need: they are added before, and kept.
var first = []string{"Namespace", "CustomResourceDefinition", "PriorityClass", "ServiceAccount"}

// admit has the API server decode, admit and validate manifests, and the pods of their
// templates with the container that injected says, and returns what it refuses, and the kinds that it could not look at.
func admit(ctx context.Context, server *kube.Client, manifests []manifest, pods []pod, injected func(pod) kube.Object) (faults []Fault, unseen []string, err error) {
	ordered := slices.Clone(manifests)
	rank := func(m manifest) int {
		if i := slices.Index(first, m.Kind()); i >= 0 {
			return i
		}
		return len(first)
	}
	slices.SortStableFunc(ordered, func(a, b manifest) int { return rank(a) - rank(b) })
	if err := addNamespaces(ctx, server, ordered); err != nil {
		return nil, nil, err
	}
	for _, m := range ordered {
		if contains(unavailable, m.Group()) {
			if kind := m.APIVersion() + " " + m.Kind(); !contains(unseen, kind) {
				unseen = append(unseen, kind)
			}
			continue
		}
		err := server.Create(ctx, m.Object, true)
		if rank(m) < len(first) && (err == nil || exists(err)) {
			err = keep(ctx, server, m)
		}
		found, err := refusals(m, "", err)
		if err != nil {
			return faults, unseen, err
		}
		faults = append(faults, found...)
	}
	for _, p := range pods {
		found, err := refusals(p.owner, p.field, server.Create(ctx, podOf(p, injected(p)), true))
		if err != nil {
			return faults, unseen, err
		}
		faults = append(faults, found...)
	}
	return faults, unseen, nil
}

// addNamespaces adds the namespaces that manifests are in, as they or an operator's
// installation do, with the account that Kubernetes gives each.
func addNamespaces(ctx context.Context, server *kube.Client, manifests []manifest) error {
	var made []string
	for _, m := range manifests {
		name := m.Namespace()
		if name == "" || contains(made, name) {
			continue
		}
		made = append(made, name)
		for _, o := range []kube.Object{
			{"apiVersion": "v1", "kind": "Namespace", "metadata": kube.Object{"name": name}},
			{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": kube.Object{"name": "default", "namespace": name}},
		} {
			if err := server.Apply(ctx, o); err != nil {
				return fmt.Errorf("add the namespace %s: %w", name, err)
			}
		}
	}
	return nil
}

// exists reports that the environment before had an object, or that it was added for it.
func exists(err error) bool {
	refusal, refused := errors.AsType[*kube.Refusal](err)
	return refused && refusal.Reason == "AlreadyExists"
}

// keep adds an object that others need, or makes it what this environment says.
func keep(ctx context.Context, server *kube.Client, m manifest) error {
	if err := server.Apply(ctx, m.Object); err != nil {
		return err
	}
	if m.Kind() != "CustomResourceDefinition" {
		return nil
	}
	return established(ctx, server, m.Object)
}

// established waits until the API server serves what a CRD defines.
func established(ctx context.Context, server *kube.Client, crd kube.Object) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := server.Get(ctx, crd)
		if err != nil {
			return err
		}
		for _, c := range now.List("status", "conditions") {
			if c.Text("type") == "Established" && c.Text("status") == "True" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not serve %s: %w", crd.Name(), ctx.Err())
		case <-tick.C:
		}
	}
}

// podOf is the pod that a controller would make of a template, with an init container more, if there is one.
func podOf(p pod, sidecar kube.Object) kube.Object {
	metadata := kube.Object{"generateName": p.owner.Name() + "-", "namespace": p.namespace}
	for _, key := range []string{"labels", "annotations"} {
		if value := p.template.At("metadata", key); value != nil {
			metadata[key] = value
		}
	}
	spec := maps.Clone(p.template.Map("spec"))
	if sidecar != nil {
		before, _ := spec["initContainers"].([]any)
		spec["initContainers"] = append(slices.Clone(before), sidecar)
	}
	return kube.Object{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

// refusals makes faults of what the API server says. Other errors are returned.
func refusals(m manifest, field string, err error) ([]Fault, error) {
	fault := func(field, problem, remedy string) Fault {
		return Fault{File: m.file, Object: m.String(), Field: field, Problem: problem, Remedy: remedy}
	}
	refusal, refused := errors.AsType[*kube.Refusal](err)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, kube.ErrUnknownKind):
		return []Fault{fault("kind", fmt.Sprintf("the API server does not know %s %s", m.APIVersion(), m.Kind()),
			"correct apiVersion and kind, or add the module with its CRD to local/toolchain/crds")}, nil
	case !refused:
		return nil, err
	case strings.Contains(refusal.Message, "PodSecurity"):
		_, why, _ := strings.Cut(refusal.Message, "is forbidden: ")
		return []Fault{fault(field+".spec", why, "change the security context: the namespace enforces it")}, nil
	}
	if unknown := unknownFields(refusal.Message); len(unknown) > 0 {
		var faults []Fault
		for _, name := range unknown {
			faults = append(faults, fault(join(field, name), "the API server knows no such field", "correct the name and the place of the field"))
		}
		return faults, nil
	}
	if len(refusal.Details.Causes) == 0 {
		return []Fault{fault(field, refusal.Message, "correct it until the API server takes it")}, nil
	}
	var faults []Fault
	for _, cause := range refusal.Details.Causes {
		faults = append(faults, fault(join(field, cause.Field), cause.Message, "correct the value"))
	}
	return faults, nil
}

func join(field, name string) string {
	if field == "" || strings.HasPrefix(name, field) {
		return name
	}
	return strings.TrimSuffix(field+"."+name, ".")
}

// unknownFields reads the fields of a strict decoding's refusal.
func unknownFields(message string) (fields []string) {
	for part := range strings.SplitSeq(message, "unknown field \"") {
		if name, _, ended := strings.Cut(part, "\""); ended && part != message && !strings.Contains(name, " ") {
			fields = append(fields, name)
		}
	}
	return fields
}
